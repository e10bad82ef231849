// SPDX-License-Identifier: MIT
// GELU by a table, for tiers whose registers look up 32 floats at once.

/// Cubics in -a of -a Phi(-a), the highest power first, for 32 segments of a in [0, 5.5]: tools/fit_math.py.
inline constexpr float gelu_cubics[4][32] = {
    {4.854936618e-03F,  2.788557671e-02F,  5.472793803e-02F,  7.917273790e-02F,  9.986174107e-02F,  1.156751662e-01F,
     1.257427037e-01F,  1.296353787e-01F,  1.273303181e-01F,  1.192891598e-01F,  1.063763946e-01F,  8.983784914e-02F,
     7.113046199e-02F,  5.178036541e-02F,  3.326638415e-02F,  1.684935018e-02F,  3.432183759e-03F,  -6.487793755e-03F,
     -1.282961573e-02F, -1.589891501e-02F, -1.629720069e-02F, -1.478904299e-02F, -1.217466034e-02F, -9.170376696e-03F,
     -6.321409717e-03F, -3.967340570e-03F, -2.241640119e-03F, -1.120017725e-03F, -4.814368731e-04F, -1.701331203e-04F,
     -4.562357935e-05F, -8.023313967e-06F},
    {3.990210593e-01F,  4.031627476e-01F,  4.159439206e-01F,  4.354746044e-01F,  4.587829411e-01F,  4.818487763e-01F,
     4.998992085e-01F,  5.081195831e-01F,  5.021527410e-01F,  4.788826704e-01F,  4.368711114e-01F,  3.768976629e-01F,
     3.019007444e-01F,  2.167343497e-01F,  1.277960837e-01F,  4.215252027e-02F,  -3.352714702e-02F, -9.379762411e-02F,
     -1.351576447e-01F, -1.565596610e-01F, -1.594525427e-01F, -1.473246813e-01F, -1.250058115e-01F, -9.774224460e-02F,
     -7.026736438e-02F, -4.614881054e-02F, -2.736517973e-02F, -1.438927092e-02F, -6.529229693e-03F, -2.445146674e-03F,
     -6.987585803e-04F, -1.320836018e-04F},
    {5.000000000e-01F,  5.002708435e-01F,  5.023379326e-01F,  5.075756907e-01F,  5.163602829e-01F,  5.275998116e-01F,
     5.384032130e-01F,  5.441936851e-01F,  5.390455723e-01F,  5.165849328e-01F,  4.709990323e-01F,  3.984724283e-01F,
     2.982134819e-01F,  1.732217222e-01F,  3.076345846e-02F,  -1.182037741e-01F, -2.605290413e-01F, -3.826170862e-01F,
     -4.725487232e-01F, -5.223020315e-01F, -5.293003917e-01F, -4.967871010e-01F, -4.332651496e-01F, -3.507807851e-01F,
     -2.624462247e-01F, -1.800649017e-01F, -1.119033471e-01F, -6.185660884e-02F, -2.960267104e-02F, -1.173952129e-02F,
     -3.572956193e-03F, -7.255576202e-04F},
    {0.000000000e+00F,  6.183153346e-06F,  1.196341764e-04F,  5.910706823e-04F,  1.698656240e-03F,  3.528321395e-03F,
     5.686821416e-03F,  7.047417574e-03F,  5.566972308e-03F,  -1.663832576e-03F, -1.816071570e-02F, -4.740978032e-02F,
     -9.210401028e-02F, -1.532716900e-01F, -2.293563336e-01F, -3.157501817e-01F, -4.049921930e-01F, -4.874471426e-01F,
     -5.526415110e-01F, -5.912019014e-01F, -5.968404412e-01F, -5.677818060e-01F, -5.075087547e-01F, -4.243116379e-01F,
     -3.296287358e-01F, -2.358180732e-01F, -1.533577293e-01F, -8.900590986e-02F, -4.488035291e-02F, -1.883229241e-02F,
     -6.100202911e-03F, -1.330018393e-03F},
};

/// x * Phi(x) within 1.6e-7 * max(1, |x|), and 1.3e-6 * |x|, in place: max(x, 0) - a Phi(-a) with a = |x|, as gelu_power(), but
/// the second part is a cubic of the segment that a is in. Beyond 5.5 it would be less than 1.1e-7, and a is held there.
///
/// The segment is round(start a - bend a^2), narrow near 0 where the function bends most. Adding 1.5 * 2^23 rounds it, and leaves
/// it in the low bits, the only ones that a lookup reads. Five multiply-adds and four lookups, where gelu_power() has eleven
/// operations for the multiply-add units: by llvm-mca 14 cycles a register of a Zen 4 instead of 23. Ice Lake, whose lookups take
/// turns with multiply-adds, is bound to 6.5 instead of 7.5, but takes 8.6 instead of 7.6 if nothing else fills its pipelines.
template <int Count, class Vec> FASTVIT_ALWAYS_INLINE void gelu_by_segments(float *const (&x)[Count]) {
    constexpr float end = 5.5F, start = 9.539394379e+00F, bend = 6.937741637e-01F, rounding = 12582912.0F;
    Vec minus_a[Count], segment[Count], value[Count];
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) {
        minus_a[i] = max(Vec::broadcast(-end), negative_absolute(Vec::load(x[i])));
        const Vec slope = fma(minus_a[i], Vec::broadcast(-bend), Vec::broadcast(-start));
        segment[i] = fma(minus_a[i], slope, Vec::broadcast(rounding));
    }
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) {
        value[i] = fma(Vec::lookup(gelu_cubics[0], segment[i]), minus_a[i], Vec::lookup(gelu_cubics[1], segment[i]));
        value[i] = fma(value[i], minus_a[i], Vec::lookup(gelu_cubics[2], segment[i]));
        const Vec rest = max(Vec::broadcast(0.0F), Vec::load(x[i])) + Vec::lookup(gelu_cubics[3], segment[i]);
        fma(value[i], minus_a[i], rest).store(x[i]);
    }
}
