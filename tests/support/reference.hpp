// SPDX-License-Identifier: MIT
// What each kernel computes, as plain loops over NCHW maps: the oracle of the tests and the readable form of the kernels. The
// scalar type is a parameter; in double the references are exact as far as float32 results can tell.
//
// Also what tests need around it: a comparison that reports the worst element, tolerances from norms, seeded numbers.
#pragma once

#include "fastvit/base/config.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace reference {

using fastvit::index_type;

/// A batch of feature maps, NCHW.
template <class T> struct maps {
    index_type images, channels, height, width;
    std::vector<T> values;

    maps(index_type n, index_type c, index_type h, index_type w)
        : images(n), channels(c), height(h), width(w), values(n * c * h * w) {}
    T &operator()(index_type n, index_type c, index_type y, index_type x) {
        return values[((n * channels + c) * height + y) * width + x];
    }
    T operator()(index_type n, index_type c, index_type y, index_type x) const {
        return values[((n * channels + c) * height + y) * width + x];
    }
};

/// Calls f(n, c, y, x) for each element.
template <class T, class F> void for_each_element(const maps<T> &m, F &&f) {
    for (index_type n = 0; n < m.images; ++n)
        for (index_type c = 0; c < m.channels; ++c)
            for (index_type y = 0; y < m.height; ++y)
                for (index_type x = 0; x < m.width; ++x) f(n, c, y, x);
}

/// A map of the same extent: value(n, c, y, x) for each element.
template <class T, class F> maps<T> map_like(const maps<T> &m, F &&value) {
    maps<T> out(m.images, m.channels, m.height, m.width);
    for_each_element(out, [&](index_type n, index_type c, index_type y, index_type x) { out(n, c, y, x) = value(n, c, y, x); });
    return out;
}

struct conv_extent {
    index_type out;
    index_type kernel = 1;
    index_type stride = 1;
    index_type groups = 1;
    index_type padding = kernel / 2;
};

/// out[o][y][x] = bias[o] + sum over i, r, s of in[group of o, i][y * stride + r - padding][x * stride + s - padding] *
/// kernel[o][i][r][s], outside the map zero. With groups = in channels this is the depthwise convolution, and out / groups its
/// depth multiplier. An empty bias is zero.
template <class T>
maps<T> conv(const maps<T> &in, const std::vector<T> &kernel, const std::vector<T> &bias, const conv_extent &e) {
    const index_type k = e.kernel, inputs = in.channels / e.groups, outputs = e.out / e.groups;
    maps<T> out(in.images, e.out, (in.height + 2 * e.padding - k) / e.stride + 1, (in.width + 2 * e.padding - k) / e.stride + 1);
    for_each_element(out, [&](index_type n, index_type o, index_type y, index_type x) {
        T sum = bias.empty() ? T{0} : bias[o];
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

/// out[o] = bias[o] + sum over i of in[i] * weight[o][i]. An empty bias is zero.
template <class T> std::vector<T> linear(const std::vector<T> &in, const std::vector<T> &weight, const std::vector<T> &bias) {
    const index_type inputs = static_cast<index_type>(in.size()), outputs = static_cast<index_type>(weight.size()) / inputs;
    std::vector<T> out(outputs);
    for (index_type o = 0; o < outputs; ++o) {
        out[o] = bias.empty() ? T{0} : bias[o];
        for (index_type i = 0; i < inputs; ++i) out[o] += in[i] * weight[o * inputs + i];
    }
    return out;
}

/// BatchNorm in evaluation form: (x - mean) / sqrt(variance + epsilon) * weight + bias, channel by channel.
template <class T>
maps<T> batch_norm(const maps<T> &in, const std::vector<T> &weight, const std::vector<T> &bias, const std::vector<T> &mean,
                   const std::vector<T> &variance, T epsilon) {
    return map_like(in, [&](index_type n, index_type c, index_type y, index_type x) {
        return (in(n, c, y, x) - mean[c]) / std::sqrt(variance[c] + epsilon) * weight[c] + bias[c];
    });
}

/// The exact form: x times the normal distribution's function.
template <class T> T gelu(T x) { return x * std::erfc(-x / std::sqrt(T{2})) / 2; }
template <class T> T sigmoid(T x) { return 1 / (1 + std::exp(-x)); }
template <class T> T relu(T x) { return x < 0 ? T{0} : x; }

/// f(x) for each element.
template <class T, class F> maps<T> apply(const maps<T> &in, F &&f) {
    return map_like(in, [&](index_type n, index_type c, index_type y, index_type x) { return f(in(n, c, y, x)); });
}

template <class T> maps<T> add(const maps<T> &a, const maps<T> &b) {
    return map_like(a, [&](index_type n, index_type c, index_type y, index_type x) { return a(n, c, y, x) + b(n, c, y, x); });
}

/// scale[c] * x.
template <class T> maps<T> scale_channels(const maps<T> &in, const std::vector<T> &scale) {
    return map_like(in, [&](index_type n, index_type c, index_type y, index_type x) { return in(n, c, y, x) * scale[c]; });
}

/// The mean of each channel of one image.
template <class T> std::vector<T> mean(const maps<T> &in, index_type n) {
    std::vector<T> sums(in.channels);
    for (index_type c = 0; c < in.channels; ++c)
        for (index_type y = 0; y < in.height; ++y)
            for (index_type x = 0; x < in.width; ++x) sums[c] += in(n, c, y, x) / static_cast<T>(in.height * in.width);
    return sums;
}

/// x * sigmoid(expand(relu(reduce(mean of x)))), image by image.
template <class T>
maps<T> squeeze_excite(const maps<T> &in, const std::vector<T> &reduce, const std::vector<T> &reduce_bias,
                       const std::vector<T> &expand, const std::vector<T> &expand_bias) {
    std::vector<std::vector<T>> gates;
    for (index_type n = 0; n < in.images; ++n) {
        std::vector<T> hidden = linear(mean(in, n), reduce, reduce_bias);
        for (T &h : hidden) h = relu(h);
        gates.push_back(linear(hidden, expand, expand_bias));
    }
    return map_like(
        in, [&](index_type n, index_type c, index_type y, index_type x) { return in(n, c, y, x) * sigmoid(gates[n][c]); });
}

/// LayerNorm over the channels of each pixel: (x - mean) / sqrt(variance + epsilon) * gamma + beta.
template <class T> maps<T> layer_norm(const maps<T> &in, const std::vector<T> &gamma, const std::vector<T> &beta, T epsilon) {
    return map_like(in, [&](index_type n, index_type c, index_type y, index_type x) {
        const T count = static_cast<T>(in.channels);
        T average = 0, variance = 0;
        for (index_type i = 0; i < in.channels; ++i) average += in(n, i, y, x) / count;
        for (index_type i = 0; i < in.channels; ++i) variance += (in(n, i, y, x) - average) * (in(n, i, y, x) - average) / count;
        return (in(n, c, y, x) - average) / std::sqrt(variance + epsilon) * gamma[c] + beta[c];
    });
}

/// One query: sum over t of softmax(scores)[t] * v[t], scores[t] = q . k[t]. Tokens of q.size() numbers.
template <class T> std::vector<T> attend(const std::vector<T> &q, const std::vector<T> &k, const std::vector<T> &v) {
    std::vector<T> weights = linear(q, k, {});
    const T most = *std::max_element(weights.begin(), weights.end());
    T total = 0;
    for (T &w : weights) total += w = std::exp(w - most);
    std::vector<T> out(q.size());
    for (std::size_t t = 0; t < weights.size(); ++t) {
        const T weight = weights[t] / total;
        for (std::size_t c = 0; c < out.size(); ++c) out[c] += weight * v[t * out.size() + c];
    }
    return out;
}

/// Half the distance from 1 to the next float32: the most by which one operation is wrong, relatively.
inline constexpr double unit = 0x1p-24;

/// How far a float32 chain of `terms` multiply-adds may be from the exact sum of products: the classic bound, with `norm` at
/// least the sum of the products' magnitudes (the product of the 2-norms of the factors, by Cauchy and Schwarz).
inline double rounding(index_type terms, double norm) { return static_cast<double>(terms + 2) * unit * norm; }

/// The 2-norm of value(0), ..., value(count - 1).
template <class F> double norm_of(index_type count, F &&value) {
    double squares = 0;
    for (index_type i = 0; i < count; ++i) squares += static_cast<double>(value(i)) * static_cast<double>(value(i));
    return std::sqrt(squares);
}

template <class T> T largest(const std::vector<T> &values) {
    T most = 0;
    for (const T v : values) most = std::max(most, std::abs(v));
    return most;
}

/// Compares element by element and remembers the worst, in units of its tolerance. A NaN equals only a NaN.
class comparison {
  public:
    /// `where`: the element's indices.
    void add(double expected, double got, double tolerance, std::initializer_list<index_type> where) {
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

    /// Success if something was compared and everything is within its tolerance.
    testing::AssertionResult result() const {
        if (count_ == 0) return testing::AssertionFailure() << "nothing was compared";
        if (worst_ <= 1) return testing::AssertionSuccess();
        return testing::AssertionFailure() << "the worst of " << count_ << ": " << text_;
    }

    /// The largest error, in tolerances.
    double worst() const { return worst_; }

  private:
    double worst_ = 0;
    index_type count_ = 0;
    std::string text_;
};

/// Compares two batches, each element with the same tolerance.
template <class T, class U> testing::AssertionResult near(const maps<T> &expected, const maps<U> &got, double tolerance) {
    if (expected.images != got.images || expected.channels != got.channels || expected.height != got.height ||
        expected.width != got.width)
        return testing::AssertionFailure() << "different extents";
    comparison all;
    for_each_element(expected, [&](index_type n, index_type c, index_type y, index_type x) {
        all.add(static_cast<double>(expected(n, c, y, x)), static_cast<double>(got(n, c, y, x)), tolerance, {n, c, y, x});
    });
    return all.result();
}

/// Random numbers. A failure while it lives prints the seed; the environment variable FASTVIT_TEST_SEED sets it.
class random_source {
  public:
    random_source() : random_source(default_seed()) {}
    explicit random_source(std::uint64_t seed)
        : engine_(seed), trace_(__FILE__, __LINE__, "random numbers: FASTVIT_TEST_SEED=" + std::to_string(seed)) {}

    /// Uniform in [low, high), a multiple of 2^-24 of the width.
    float operator()(float low = -1, float high = 1) {
        return low + (high - low) * (static_cast<float>(engine_() >> 40) * 0x1p-24F);
    }
    /// Uniform in [low, high].
    index_type integer(index_type low, index_type high) {
        return low + static_cast<index_type>(engine_() % static_cast<std::uint64_t>(high - low + 1));
    }
    template <class T> T one_of(const std::vector<T> &choices) {
        return choices[static_cast<std::size_t>(integer(0, static_cast<index_type>(choices.size()) - 1))];
    }
    /// float32 values, as T.
    template <class T = float> std::vector<T> values(index_type count, float low = -1, float high = 1) {
        std::vector<T> result(count);
        for (T &v : result) v = (*this)(low, high);
        return result;
    }
    /// A batch of float32 values.
    maps<double> batch(index_type n, index_type c, index_type h, index_type w) {
        maps<double> m(n, c, h, w);
        m.values = values<double>(n * c * h * w);
        return m;
    }

  private:
    static std::uint64_t default_seed() {
        const char *const text = std::getenv("FASTVIT_TEST_SEED");
        return text ? std::strtoull(text, nullptr, 10) : 1;
    }

    std::mt19937_64 engine_;
    testing::ScopedTrace trace_;
};

} // namespace reference
