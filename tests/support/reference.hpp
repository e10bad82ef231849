// SPDX-License-Identifier: MIT
// What each kernel computes, as plain loops over NCHW maps: the oracle of the tests and the readable form of the kernels. In
// double: the references are exact as far as float32 results can tell.
//
// Also what tests need around it: a comparison that reports the worst element, tolerances from norms, seeded numbers. The last
// are inline, for the tests labelled header_only.
#pragma once

#include "fastvit/base/config.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <random>
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
maps<double> conv(const maps<double> &in, const std::vector<double> &kernel, const std::vector<double> &bias,
                  const conv_extent &e);

/// out[o] = bias[o] + sum over i of in[i] * weight[o][i]. An empty bias is zero.
std::vector<double> linear(const std::vector<double> &in, const std::vector<double> &weight, const std::vector<double> &bias);

/// BatchNorm in evaluation form: (x - mean) / sqrt(variance + epsilon) * weight + bias, channel by channel.
maps<double> batch_norm(const maps<double> &in, const std::vector<double> &weight, const std::vector<double> &bias,
                        const std::vector<double> &mean, const std::vector<double> &variance, double epsilon);

/// The exact form: x times the normal distribution's function.
template <class T> T gelu(T x) { return x * std::erfc(-x / std::sqrt(T{2})) / 2; }
template <class T> T sigmoid(T x) { return 1 / (1 + std::exp(-x)); }
template <class T> T relu(T x) { return x < 0 ? T{0} : x; }

/// f(x) for each element.
template <class T, class F> maps<T> apply(const maps<T> &in, F &&f) {
    return map_like(in, [&](index_type n, index_type c, index_type y, index_type x) { return f(in(n, c, y, x)); });
}

maps<double> add(const maps<double> &a, const maps<double> &b);

/// scale[c] * x.
maps<double> scale_channels(const maps<double> &in, const std::vector<double> &scale);

/// The mean of each channel of one image.
std::vector<double> mean(const maps<double> &in, index_type n);

/// x * sigmoid(expand(relu(reduce(mean of x)))), image by image.
maps<double> squeeze_excite(const maps<double> &in, const std::vector<double> &reduce, const std::vector<double> &reduce_bias,
                            const std::vector<double> &expand, const std::vector<double> &expand_bias);

/// LayerNorm over the channels of each pixel: (x - mean) / sqrt(variance + epsilon) * gamma + beta.
maps<double> layer_norm(const maps<double> &in, const std::vector<double> &gamma, const std::vector<double> &beta,
                        double epsilon);

/// One query: sum over t of softmax(scores)[t] * v[t], scores[t] = q . k[t]. Tokens of q.size() numbers.
std::vector<double> attend(const std::vector<double> &q, const std::vector<double> &k, const std::vector<double> &v);

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
    void add(double expected, double got, double tolerance, std::initializer_list<index_type> where);

    /// Success if something was compared and everything is within its tolerance.
    testing::AssertionResult result() const;

    /// The largest error, in tolerances.
    double worst() const { return worst_; }

  private:
    double worst_ = 0;
    index_type count_ = 0;
    std::string text_;
};

/// Compares two batches, each element with the same tolerance.
testing::AssertionResult near(const maps<double> &expected, const maps<double> &got, double tolerance);
testing::AssertionResult near(const maps<double> &expected, const maps<float> &got, double tolerance);

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
