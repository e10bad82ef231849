// SPDX-License-Identifier: MIT
// Writing checkpoints: as safetensors, folded, and quantised.
//
// A quantised checkpoint is a safetensors file with a folded network whose dense matrices are bytes. They are those that int8
// computes: `mlp.fc1`, `mlp.fc2`, `token_mixer.qkv` and `token_mixer.proj` of each block, and the classifier, unless that is a
// projection stored transposed (`head.fc.proj`). In place of a float32 `X.weight` it has
//
//     X.weight         I8, the usual shape: bytes from -127 to 127, with the limits that packed_matrix_view states
//                      (kernels/gemm/contract.hpp); int8 quantises others again, with a larger scale
//     X.weight_scale   F32, [outputs]: the weight is scale * byte, exactly, as scales have 15 significant bits
//
// A matrix that int8 would not compute in 8 bits stays float32. The weights of all other convolutions are F16, to which int8
// rounds them, unless they are too large or too small for that (reparam/half_precision.hpp); the rest is float32. Before they are
// quantised, the matrices take up what precision::int8 lets them take up when it opens a checkpoint. So of a block the file has
//
//     mlp.conv.reparam_conv.weight, .bias   the ConvFFN's 7 x 7 with its BatchNorm, balanced with fc1 (reparam/balance.hpp);
//                                           instead of mlp.conv.conv.* and mlp.conv.bn.*
//     token_mixer.qkv.bias                  from attention's BatchNorm; instead of norm.*, unless that is a LayerNorm
//     no layer scale                        except pooling's layer_scale_1, which no matrix takes up, and nor does its norm
//     token_mixer.conv, .bn                 of ConvMixer as they are: an activation stands between them
//
// and otherwise the official folded form. The presence of mlp.conv.reparam_conv tells the form of a block; within either, a
// matrix may be quantised or not. Opened with precision::int8, the file gives the bits of the checkpoint that it was made of;
// with another precision, the network computes with scale * byte and the F16 weights. The official code does not load it.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/io/dtype.hpp"

#include <filesystem>
#include <optional>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI {

/// Writes the tensors and metadata of `source` to a safetensors file. Floating-point elements are written as `type`, which is
/// f32, or f16 or bf16 rounded to nearest even; others as they are, but for the quantised matrices of a network, which become
/// floating-point elements. With i8 the file is a quantised checkpoint, as above, and tensors that are not the network's are
/// float32. If the checkpoint has a FastViT, at `prefix` or the only one, that network is written with what belongs to it, its
/// names without a framework's wrappers; otherwise everything, under its own name. Throws `invalid_argument` for another type or
/// a prefix that no network has, `unsupported` for several networks without a prefix and for one of several files, `bad_value`
/// for a number that `type` cannot hold, `io` where the file cannot be written, and with i8 what save_folded() throws. The file
/// is written whole or not at all.
void save_converted(const checkpoint &source, const std::filesystem::path &path, io::dtype type = io::dtype::f32,
                    const std::optional<std::string_view> &prefix = std::nullopt);

/// Writes the folded form of a network of `source`, at `prefix` or the only one, to a safetensors file, in the spelling of
/// `source`: the official folded model loads it with strict checking, unless it is quantised or `source` was, whose blocks keep
/// their form. Blocks that are already folded, a head that is not one linear layer, and the other tensors of a larger model stay
/// as they are; other networks are left out. Element types and names are those of save_converted(). Throws what model::open() and
/// save_converted() throw. The file is written whole or not at all.
void save_folded(const checkpoint &source, const std::filesystem::path &path, io::dtype type = io::dtype::f32,
                 const std::optional<std::string_view> &prefix = std::nullopt);

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/save.hpp"
#endif
