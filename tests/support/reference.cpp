// SPDX-License-Identifier: MIT
// The definitions of reference.hpp.
#include "support/reference.hpp"

#include <cstddef>
#include <limits>
#include <sstream>

namespace reference {

namespace {

template <class T, class U> testing::AssertionResult compared(const maps<T> &expected, const maps<U> &got, double tolerance) {
    if (expected.images != got.images || expected.channels != got.channels || expected.height != got.height ||
        expected.width != got.width)
        return testing::AssertionFailure() << "different extents";
    comparison all;
    for_each_element(expected, [&](index_type n, index_type c, index_type y, index_type x) {
        all.add(static_cast<double>(expected(n, c, y, x)), static_cast<double>(got(n, c, y, x)), tolerance, {n, c, y, x});
    });
    return all.result();
}

} // namespace

maps<double> conv(const maps<double> &in, const std::vector<double> &kernel, const std::vector<double> &bias,
                  const conv_extent &e) {
    const index_type k = e.kernel, inputs = in.channels / e.groups, outputs = e.out / e.groups;
    maps<double> out(in.images, e.out, (in.height + 2 * e.padding - k) / e.stride + 1,
                     (in.width + 2 * e.padding - k) / e.stride + 1);
    for_each_element(out, [&](index_type n, index_type o, index_type y, index_type x) {
        double sum = bias.empty() ? 0.0 : bias[o];
        for (index_type i = 0; i < inputs; ++i)
            for (index_type r = 0; r < k; ++r)
                for (index_type s = 0; s < k; ++s) {
                    const index_type from_y = y * e.stride + r - e.padding, from_x = x * e.stride + s - e.padding;
                    if (from_y < 0 || from_y >= in.height || from_x < 0 || from_x >= in.width) continue;
                    sum += in(n, o / outputs * inputs + i, from_y, from_x) * kernel[((o * inputs + i) * k + r) * k + s];
                }
        out(n, o, y, x) = sum;
    });
    return out;
}

std::vector<double> linear(const std::vector<double> &in, const std::vector<double> &weight, const std::vector<double> &bias) {
    const index_type inputs = static_cast<index_type>(in.size()), outputs = static_cast<index_type>(weight.size()) / inputs;
    std::vector<double> out(outputs);
    for (index_type o = 0; o < outputs; ++o) {
        out[o] = bias.empty() ? 0.0 : bias[o];
        for (index_type i = 0; i < inputs; ++i) out[o] += in[i] * weight[o * inputs + i];
    }
    return out;
}

maps<double> batch_norm(const maps<double> &in, const std::vector<double> &weight, const std::vector<double> &bias,
                        const std::vector<double> &mean, const std::vector<double> &variance, double epsilon) {
    return map_like(in, [&](index_type n, index_type c, index_type y, index_type x) {
        return (in(n, c, y, x) - mean[c]) / std::sqrt(variance[c] + epsilon) * weight[c] + bias[c];
    });
}

maps<double> add(const maps<double> &a, const maps<double> &b) {
    return map_like(a, [&](index_type n, index_type c, index_type y, index_type x) { return a(n, c, y, x) + b(n, c, y, x); });
}

maps<double> scale_channels(const maps<double> &in, const std::vector<double> &scale) {
    return map_like(in, [&](index_type n, index_type c, index_type y, index_type x) { return in(n, c, y, x) * scale[c]; });
}

std::vector<double> mean(const maps<double> &in, index_type n) {
    std::vector<double> sums(in.channels);
    for (index_type c = 0; c < in.channels; ++c)
        for (index_type y = 0; y < in.height; ++y)
            for (index_type x = 0; x < in.width; ++x) sums[c] += in(n, c, y, x) / static_cast<double>(in.height * in.width);
    return sums;
}

maps<double> squeeze_excite(const maps<double> &in, const std::vector<double> &reduce, const std::vector<double> &reduce_bias,
                            const std::vector<double> &expand, const std::vector<double> &expand_bias) {
    std::vector<std::vector<double>> gates;
    for (index_type n = 0; n < in.images; ++n) {
        std::vector<double> hidden = linear(mean(in, n), reduce, reduce_bias);
        for (double &h : hidden) h = relu(h);
        gates.push_back(linear(hidden, expand, expand_bias));
    }
    return map_like(
        in, [&](index_type n, index_type c, index_type y, index_type x) { return in(n, c, y, x) * sigmoid(gates[n][c]); });
}

maps<double> layer_norm(const maps<double> &in, const std::vector<double> &gamma, const std::vector<double> &beta,
                        double epsilon) {
    return map_like(in, [&](index_type n, index_type c, index_type y, index_type x) {
        const double count = static_cast<double>(in.channels);
        double average = 0, variance = 0;
        for (index_type i = 0; i < in.channels; ++i) average += in(n, i, y, x) / count;
        for (index_type i = 0; i < in.channels; ++i) variance += (in(n, i, y, x) - average) * (in(n, i, y, x) - average) / count;
        return (in(n, c, y, x) - average) / std::sqrt(variance + epsilon) * gamma[c] + beta[c];
    });
}

std::vector<double> attend(const std::vector<double> &q, const std::vector<double> &k, const std::vector<double> &v) {
    std::vector<double> weights = linear(q, k, {});
    const double most = *std::max_element(weights.begin(), weights.end());
    double total = 0;
    for (double &w : weights) total += w = std::exp(w - most);
    std::vector<double> out(q.size());
    for (std::size_t t = 0; t < weights.size(); ++t) {
        const double weight = weights[t] / total;
        for (std::size_t c = 0; c < out.size(); ++c) out[c] += weight * v[t * out.size() + c];
    }
    return out;
}

void comparison::add(double expected, double got, double tolerance, std::initializer_list<index_type> where) {
    ++count_;
    const bool same = expected == got || (std::isnan(expected) && std::isnan(got));
    const double error = std::abs(expected - got);
    double excess = same ? 0 : error / tolerance;
    if (std::isnan(excess)) excess = std::numeric_limits<double>::infinity();
    if (excess <= worst_) return;
    worst_ = excess;
    std::ostringstream text;
    text.precision(9);
    text << "element [";
    for (const index_type &i : where) text << (&i == where.begin() ? "" : ", ") << i;
    text << "]: expected " << expected << ", got " << got << ", apart by " << error << ", tolerance " << tolerance;
    text_ = text.str();
}

testing::AssertionResult comparison::result() const {
    if (count_ == 0) return testing::AssertionFailure() << "nothing was compared";
    if (worst_ <= 1) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "the worst of " << count_ << ": " << text_;
}

testing::AssertionResult near(const maps<double> &expected, const maps<double> &got, double tolerance) {
    return compared(expected, got, tolerance);
}
testing::AssertionResult near(const maps<double> &expected, const maps<float> &got, double tolerance) {
    return compared(expected, got, tolerance);
}

} // namespace reference
