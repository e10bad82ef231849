// SPDX-License-Identifier: MIT
#include "fastvit/base/float16.hpp"
#include "fastvit/checkpoint.hpp"

#include "support/counted_memory.hpp"
#include "support/pth_test_files.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

namespace {

using fastvit::error_kind;
using fastvit::shape;
using namespace fastvit::io;
using namespace std::string_literals;
using fastvit::checkpoint;
using io_test::expect_error;
using io_test::expect_refused;
using io_test::floats;
using io_test::number;
using io_test::tensor_count;
using io_test::torch_legacy;
using io_test::torch_zip;
using io_test::values;
namespace pk = io_test::pk;

const std::filesystem::path checkpoints = std::filesystem::path(FASTVIT_TEST_DATA) / "checkpoints";

// The file stays, because a checkpoint does not own its bytes.
checkpoint parse(const std::string &file) {
    static std::deque<std::string> files;
    return checkpoint::from_bytes(io_test::bytes_of(files.emplace_back(file)), "FILE");
}

std::string iota(int count) {
    std::string result;
    for (int i = 0; i < count; ++i) result += number(static_cast<float>(i));
    return result;
}

const std::string six = pk::storage("FloatStorage", "0", 6);
const std::string t6 = pk::tensor(six, 0, {2, 3}, {3, 1});
const std::vector<float> zero_to_five{0, 1, 2, 3, 4, 5};

// A file with the tensor "t" made from these arguments of _rebuild_tensor_v2 on a storage "0" of six floats.
std::string one(const std::string &storage, std::int64_t offset, std::initializer_list<std::int64_t> dims,
                std::initializer_list<std::int64_t> strides) {
    return torch_zip(pk::dict({pk::text("t"), pk::tensor(storage, offset, dims, strides)}), {{"0", iota(6)}});
}

// --- what a tensor says of itself

TEST(pth, refuses_bytes_after_the_pickle) {
    const std::string pickle = pk::proto2 + pk::dict({pk::text("t"), t6}) + ".";
    for (const bool more : {false, true}) {
        const std::string file =
            io_test::build_zip({{"archive/data.pkl", pickle + (more ? "x" : "")}, {"archive/data/0", iota(6)}}).file;
        const auto open = [&] { return checkpoint::from_bytes(io_test::bytes_of(file), "FILE"); };
        if (more)
            expect_error(error_kind::bad_format, {"FILE: ", "the pickle ends before its entry"}, open);
        else
            EXPECT_EQ(values(open(), "t"), zero_to_five);
    }
}

// From PyTorch 2 on, _rebuild_tensor_v2 has a seventh argument.
TEST(pth, refuses_views_that_stand_for_other_numbers) {
    const auto file = [](const std::string &metadata) {
        const std::string tensor =
            pk::call(pk::global("torch._utils", "_rebuild_tensor_v2"),
                     {six, pk::integer(0), pk::integers({6}), pk::integers({1}), "\x89", pk::ordered_dict({}), metadata});
        return torch_zip(pk::dict({pk::text("t"), tensor}), {{"0", iota(6)}});
    };
    const std::string yes = "\x88", no = "\x89";
    for (const std::string &harmless : {"N"s, pk::dict({}), pk::dict({pk::text("neg"), no, pk::text("conj"), no})}) {
        const std::string bytes = file(harmless);
        EXPECT_EQ(values(checkpoint::from_bytes(io_test::bytes_of(bytes), "FILE"), "t"), zero_to_five);
    }
    for (const char *const bit : {"neg", "conj"}) {
        const std::string bytes = file(pk::dict({pk::text(bit), yes}));
        expect_error(error_kind::unsupported, {"t: ", std::string("the bit ") + bit},
                     [&] { (void)checkpoint::from_bytes(io_test::bytes_of(bytes), "FILE"); });
    }
}

// --- files of PyTorch itself

TEST(pth, every_container_has_the_same_tensors) {
    const checkpoint expected = checkpoint::open(checkpoints / "tiny.safetensors");
    for (const char *const name : {"tiny.pth.tar", "tiny_legacy.pth.tar", "tiny_bf16.pth"}) {
        SCOPED_TRACE(name);
        const checkpoint c = checkpoint::open(checkpoints / name);
        ASSERT_EQ(c.tensors().size(), expected.tensors().size());
        for (const stored_tensor &t : expected.tensors()) {
            const stored_tensor *found = c.find(t.name);
            ASSERT_NE(found, nullptr) << t.name;
            if (!is_floating(t.type)) { // num_batches_tracked, which safetensors was given as [1]
                EXPECT_EQ(found->type, t.type) << t.name;
                EXPECT_EQ(found->type_name, "torch.LongStorage") << t.name;
                EXPECT_TRUE(std::equal(found->bytes.begin(), found->bytes.end(), t.bytes.begin(), t.bytes.end())) << t.name;
                continue;
            }
            ASSERT_EQ(found->dims, t.dims) << t.name;
            auto wanted = values(expected, t.name);
            if (found->type == dtype::bf16)
                for (float &v : wanted) v = bfloat16_to_float(float_to_bfloat16(v));
            EXPECT_EQ(values(c, t.name), wanted) << t.name;
        }
    }
}

TEST(pth, reads_views_of_a_shared_storage) {
    const checkpoint expected = checkpoint::open(checkpoints / "views_expected.safetensors");
    const checkpoint c = checkpoint::open(checkpoints / "views.pth");
    ASSERT_EQ(c.tensors().size(), expected.tensors().size());
    for (const stored_tensor &t : expected.tensors()) {
        EXPECT_EQ(c.find(t.name)->dims, t.dims) << t.name;
        EXPECT_EQ(values(c, t.name), values(expected, t.name)) << t.name;
    }
    EXPECT_EQ(c.find("t")->strides[0], 1);
    EXPECT_EQ(c.find("row")->bytes.size(), 6 * sizeof(float));
}

// --- containers

TEST(pth, reads_both_containers) {
    const std::string object = pk::dict({pk::text("t"), t6});
    const std::string legacy =
        pk::dict({pk::text("t"), pk::tensor(pk::legacy_storage("FloatStorage", "0", 6), 0, {2, 3}, {3, 1})});
    for (const std::string &file :
         {torch_zip(object, {{"0", iota(6)}}), torch_zip(object, {{"0", iota(6)}}, {}),
          torch_zip(object, {{"0", iota(6)}}, {.zip64_sizes = true}), torch_legacy(legacy, {{"0", iota(6)}})}) {
        const checkpoint c = parse(file);
        ASSERT_EQ(c.tensors().size(), 1u);
        EXPECT_EQ(c.tensors()[0].dims, (shape{2, 3}));
        EXPECT_EQ(values(c, "t"), zero_to_five);
    }
}

TEST(pth, names_stay_as_they_are_and_in_order) {
    const checkpoint c = parse(torch_zip(pk::dict({pk::text("module.z"), t6, pk::text("a"), t6}), {{"0", iota(6)}}));
    EXPECT_EQ(c.tensors()[0].name, "module.z");
    EXPECT_EQ(c.tensors()[1].name, "a");
}

TEST(pth, refuses_an_archive_that_is_not_pytorchs) {
    expect_refused(io_test::build_zip({}).file, {"FILE: ", "not a PyTorch file", "data.pkl"});
    expect_refused(io_test::build_zip({{"word/document.xml", "x"}}).file, {"data.pkl"});
    expect_refused(io_test::build_zip({{"data.pkl", "x"}}).file, {"data.pkl"});
    expect_refused(io_test::build_zip({{"a/b/data.pkl", "x"}}).file, {"data.pkl"});
    expect_refused(io_test::build_zip({{"a/data.pkl", "x"}, {"b/data.pkl", "x"}}).file, {"several data.pkl"});
}

TEST(pth, refuses_big_endian_files) {
    const std::string pickle = pk::proto2 + pk::dict({pk::text("t"), t6}) + ".";
    const auto file = [&](const std::string &order) {
        return io_test::build_zip({{"a/data.pkl", pickle}, {"a/byteorder", order}, {"a/data/0", iota(6)}}).file;
    };
    parse(file("little"));
    expect_refused(file("big"), {"byte order", "expected little, found big"}, error_kind::unsupported);
    expect_refused(file(""), {"byte order"}, error_kind::unsupported);
    // Files of before 2.1 do not say.
    EXPECT_EQ(tensor_count(parse(io_test::build_zip({{"a/data.pkl", pickle}, {"a/data/0", iota(6)}}).file)), 1u);
}

TEST(pth, refuses_wrong_checksums_where_the_data_is_used) {
    const std::string object =
        pk::dict({pk::text("model"), pk::dict({pk::text("t"), t6}), pk::text("optimizer"),
                  pk::dict({pk::text("m"), pk::tensor(pk::storage("FloatStorage", "1", 4), 0, {4}, {1})})});
    const io_test::named_data storages{{"0", iota(6)}, {"1", floats({9, 8, 7, 6})}};
    const std::string good = torch_zip(object, storages);
    const auto damaged = [&](const std::string &what) {
        std::string file = good;
        file[file.find(what)] ^= 1;
        return file;
    };
    expect_refused(damaged("optimizer"), {"data.pkl", "checksum"});
    expect_refused(damaged(iota(6)), {"data/0", "checksum"});
    EXPECT_EQ(tensor_count(parse(damaged(floats({9, 8, 7, 6})))), 1u);
}

TEST(pth, legacy_refuses_what_is_wrong_before_the_object) {
    const std::string object =
        pk::proto2 + pk::dict({pk::text("t"), pk::tensor(pk::legacy_storage("FloatStorage", "0", 6), 0, {6}, {1})}) + ".";
    const std::string rest = object + io_test::legacy_storages({{"0", iota(6)}});
    EXPECT_EQ(tensor_count(parse(io_test::legacy_magic + io_test::legacy_protocol + io_test::legacy_system() + rest)), 1u);
    expect_refused(io_test::legacy_magic + pk::proto2 + "M\xe8\x03." + io_test::legacy_system() + rest,
                   {"version", "expected 1001, found 1000"}, error_kind::unsupported);
    expect_refused(io_test::legacy_magic + pk::proto2 + "N." + io_test::legacy_system() + rest, {"version", "found None"},
                   error_kind::unsupported);
    expect_refused(io_test::legacy_magic + io_test::legacy_protocol + io_test::legacy_system("\x89") + rest,
                   {"byte order", "found big"}, error_kind::unsupported);
    expect_refused(io_test::legacy_magic + io_test::legacy_protocol + io_test::legacy_system("N") + rest,
                   {"byte order is missing"});
    expect_refused(io_test::legacy_magic + io_test::legacy_protocol + pk::proto2 + "N." + rest, {"byte order is missing"});
    // A pickle, but none of torch.save.
    expect_refused(object, {"a Python pickle that torch.save did not write"}, error_kind::unsupported);
}

TEST(pth, legacy_refuses_storages_that_do_not_fit) {
    const auto storage = [](const std::string &key, std::int64_t count, const std::string &type = "FloatStorage") {
        return pk::tensor(pk::legacy_storage(type, key, count), 0, {1}, {1});
    };
    const std::string head = io_test::legacy_magic + io_test::legacy_protocol + io_test::legacy_system() + pk::proto2;
    const auto file = [&](const std::string &object, const io_test::named_data &storages) {
        return torch_legacy(object, storages);
    };
    const std::string t = pk::dict({pk::text("t"), storage("0", 6)});
    expect_refused(file(t, {{"0", iota(5)}}), {"storage \"0\"", "expected 6 elements, found 5"});
    expect_refused(file(t, {{"1", iota(6)}}), {"key is unknown"});
    expect_refused(file(t, {}), {"storage \"0\" is missing"});
    expect_refused(file(t, {{"0", iota(6)}, {"0", iota(6)}}), {"unknown or there twice"});
    expect_refused(file(t, {{"0", iota(6)}}) + "x", {"after the last storage", "found 1 bytes"});
    expect_refused(file(pk::dict({pk::text("t"), storage("0", 6), pk::text("u"), storage("0", 5)}), {{"0", iota(6)}}),
                   {"\"0\" disagree"});
    expect_refused(
        file(pk::dict({pk::text("t"), storage("0", 6), pk::text("u"), storage("0", 6, "IntStorage")}), {{"0", iota(6)}}),
        {"disagree"});
    expect_refused(head + t + "." + pk::proto2 + "N.", {"storages' keys", "expected a list, found None"});
    // Elements that are not there, in number or wrapping when multiplied by their size.
    for (const std::int64_t count : {std::int64_t{7}, std::int64_t{1} << 62, std::int64_t{INT64_MAX}})
        expect_refused(head + pk::dict({pk::text("t"), storage("0", count)}) + "." + pk::proto2 + "](" + pk::text("0") + "e." +
                           number(count) + iota(6),
                       {"\"0\" is larger than its data"});
    // A negative number of elements, in the storage's header or in the pickle.
    expect_refused(head + t + "." + pk::proto2 + "](" + pk::text("0") + "e." + number(std::int64_t{-1}) + iota(6),
                   {"storage \"0\"", "expected 6 elements, found 18446744073709551615"});
    expect_refused(file(pk::dict({pk::text("t"), storage("0", -1)}), {{"0", iota(6)}}),
                   {"an integer as count that is not natural"});
}

TEST(pth, legacy_reads_views) {
    const auto view = [](std::int64_t offset, std::int64_t length) {
        return pk::tensor(
            pk::legacy_storage("FloatStorage", "0", 6, pk::tuple({pk::text("v"), pk::integer(offset), pk::integer(length)})), 1,
            {2}, {1});
    };
    const checkpoint c = parse(torch_legacy(pk::dict({pk::text("t"), view(2, 3)}), {{"0", iota(6)}}));
    EXPECT_EQ(values(c, "t"), (std::vector<float>{3, 4}));
    expect_refused(torch_legacy(pk::dict({pk::text("t"), view(2, 2)}), {{"0", iota(6)}}), {"t: ", "outside its storage"});
    expect_refused(torch_legacy(pk::dict({pk::text("t"), view(2, 5)}), {{"0", iota(6)}}), {"view outside"});
    expect_refused(torch_legacy(pk::dict({pk::text("t"), view(INT64_MAX, 3)}), {{"0", iota(6)}}), {"view outside"});
    expect_refused(torch_legacy(pk::dict({pk::text("t"), view(-1, 3)}), {{"0", iota(6)}}), {"view outside"});
}

// --- the state dict

std::string weights(float value) { // of one element, in a storage of its own
    return pk::tensor(pk::storage("FloatStorage", std::to_string(static_cast<int>(value)), 1), 0, {1}, {1});
}
const io_test::named_data four_storages{
    {"1", floats({1})}, {"2", floats({2})}, {"3", floats({3})}, {"4", floats({4})}, {"5", floats({5})}};

TEST(pth, looks_under_the_wrappers_in_order) {
    const auto wrapped = [](const char *name, float value) {
        return pk::text(name) + pk::ordered_dict({pk::text("t"), weights(value)});
    };
    const auto read = [](std::initializer_list<std::string> items) {
        return values(parse(torch_zip(pk::dict(items), four_storages)), "t");
    };
    const std::string ema = wrapped("state_dict_ema", 1);
    const std::string model_ema = wrapped("model_ema", 2);
    const std::string state_dict = wrapped("state_dict", 3);
    const std::string model = wrapped("model", 4);
    const std::string bare = pk::text("t") + weights(5);
    EXPECT_EQ(read({model, bare, state_dict, model_ema, ema}), std::vector<float>{1});
    EXPECT_EQ(read({model, bare, state_dict, model_ema}), std::vector<float>{2});
    EXPECT_EQ(read({model, bare, state_dict}), std::vector<float>{3});
    EXPECT_EQ(read({model, bare}), std::vector<float>{4});
    EXPECT_EQ(read({bare}), std::vector<float>{5});
    // A wrapper without tensors is none: training scripts write None where they keep no average.
    EXPECT_EQ(read({pk::text("state_dict_ema") + "N", state_dict}), std::vector<float>{3});
    EXPECT_EQ(read({pk::text("state_dict_ema") + "}", state_dict}), std::vector<float>{3});
    EXPECT_EQ(read({pk::text("model") + weights(4), bare}), std::vector<float>{5});
}

// What a training script leaves beside the weights: an optimizer, a scheduler, a gradient scaler, the arguments, numpy scalars.
TEST(pth, reads_training_files) {
    const std::string optimizer = pk::dict(
        {pk::text("state"),
         pk::dict({pk::integer(0), pk::dict({pk::text("step"), pk::integer(7), pk::text("exp_avg"), weights(2)})}),
         pk::text("param_groups"),
         pk::list({pk::dict({pk::text("lr"), "G?PbM\xd2\xf1\xa9\xfc", pk::text("params"), pk::list({pk::integer(0)})})})});
    const std::string arguments = pk::global("argparse", "Namespace") + ")\x81" +
                                  pk::dict({pk::text("lr"), pk::integer(1), pk::text("opt"), pk::text("adamw")}) + "b";
    const std::string scaler = pk::call(pk::global("torch.cuda.amp.grad_scaler", "GradScaler"), {}) + "}b";
    const std::string numpy = pk::call(pk::global("numpy.core.multiarray", "scalar"),
                                       {pk::call(pk::global("numpy", "dtype"), {pk::text("f8"), "\x89\x88"}) +
                                            pk::tuple({pk::integer(3), pk::text("<"), "NNN"}) + "b",
                                        pk::call(pk::global("_codecs", "encode"), {pk::text("12345678"), pk::text("latin1")})});
    const std::string path = pk::call(pk::global("pathlib", "PosixPath"), {pk::text("/tmp"), pk::text("out")});
    const std::string history = pk::call(pk::global("collections", "defaultdict"), {pk::global("__builtin__", "list")}) +
                                pk::text("loss") + pk::list({"G\0\0\0\0\0\0\0\0"s}) + "s";
    for (const std::string &items :
         {pk::text("epoch") + pk::integer(3) + pk::text("args") + arguments,
          pk::text("optimizer") + optimizer + pk::text("scaler") + scaler + pk::text("metric") + numpy,
          pk::text("path") + path + pk::text("history") + history + pk::text("best") + "N" + pk::text("amp") + "\x88"}) {
        const std::string file = "}(" + items + pk::text("state_dict") + pk::ordered_dict({pk::text("t"), weights(1)}) + "u";
        const checkpoint c = parse(torch_zip(file, four_storages));
        ASSERT_EQ(c.tensors().size(), 1u);
        EXPECT_EQ(values(c, "t"), std::vector<float>{1});
    }
}

TEST(pth, reads_parameters_and_sizes) {
    const std::string parameter = pk::call(pk::global("torch._utils", "_rebuild_parameter"), {t6, "\x88", pk::ordered_dict({})});
    const std::string size = pk::call(
        pk::global("torch._utils", "_rebuild_tensor_v2"),
        {six, "K\0"s, pk::call(pk::global("torch", "Size"), {pk::integers({2, 3})}), pk::integers({3, 1}), "\x89", ")", "N"});
    const checkpoint c = parse(torch_zip(pk::dict({pk::text("p"), parameter, pk::text("s"), size}), {{"0", iota(6)}}));
    EXPECT_EQ(values(c, "p"), zero_to_five);
    EXPECT_EQ(values(c, "s"), zero_to_five);
}

TEST(pth, values_that_are_no_tensors_are_left_out_but_inert_objects_are_errors_where_they_are_read) {
    const std::string inert = pk::call(pk::global("torch._utils", "_rebuild_sparse_tensor"), {pk::text("x")});
    const std::string nested = pk::call(pk::global("torch._utils", "_rebuild_parameter"), {inert, "\x88"});
    const checkpoint c =
        parse(torch_zip(pk::dict({pk::text("n"), pk::integer(3), pk::text("none"), "N", pk::text("list"), "]", pk::text("args"),
                                  pk::global("argparse", "Namespace") + ")\x81}b", pk::text("t"), t6, pk::text("a.sparse"), inert,
                                  pk::text("a.nested"), nested, pk::integer(5), pk::integer(6)}),
                        {{"0", iota(6)}}));
    ASSERT_EQ(c.tensors().size(), 3u);
    EXPECT_EQ(c.find("a.sparse")->type, dtype::other);
    expect_error(error_kind::unsupported, {"a.sparse: ", "found an object of torch._utils._rebuild_sparse_tensor"},
                 [&] { (void)read_float(*c.find("a.sparse")); });
    expect_error(error_kind::unsupported, {"a.nested: ", "_rebuild_parameter"}, [&] { (void)read_float(*c.find("a.nested")); });
}

TEST(pth, refuses_files_without_a_state_dict) {
    const auto refuse = [](const std::string &object, std::initializer_list<std::string_view> words) {
        expect_refused(torch_zip(object, four_storages), words, error_kind::unsupported);
    };
    refuse("N", {"no state dict", "state_dict_ema, model_ema, state_dict or model", "found None"});
    refuse("]", {"found a sequence"});
    refuse("}", {"found a dictionary without tensors"});
    refuse(weights(1), {"found an object of torch._utils._rebuild_tensor_v2"});
    refuse(pk::dict({pk::text("a"), pk::dict({pk::text("t"), weights(1)})}), {"found the keys a (1 tensor)"});
    // A whole model, saved with its class.
    refuse(pk::global("models.fastvit", "FastViT") + ")\x81}b", {"found an object of models.fastvit.FastViT"});
    refuse(pk::dict({pk::text("model"), pk::global("models.fastvit", "FastViT") + ")\x81}b"}),
           {"found an object of models.fastvit.FastViT under model"});
}

TEST(pth, refuses_names_that_are_there_twice_or_are_no_names) {
    expect_refused(
        torch_zip(pk::dict({pk::text("t"), weights(1), pk::text("u"), weights(2), pk::text("t"), weights(2)}), four_storages),
        {"t: ", "twice"}, error_kind::unexpected_tensor);
    const std::string model = pk::text("model") + pk::dict({pk::text("t"), weights(1)});
    expect_refused(torch_zip(pk::dict({model, model}), four_storages), {"\"model\"", "twice"});
    expect_refused(torch_zip(pk::dict({pk::text("t"), weights(1), pk::integer(5), weights(2)}), four_storages),
                   {"name", "expected a string, found an integer"});
}

// --- tensors

TEST(pth, honours_strides_and_offsets) {
    EXPECT_EQ(values(parse(one(six, 0, {3, 2}, {1, 3})), "t"), (std::vector<float>{0, 3, 1, 4, 2, 5}));
    EXPECT_EQ(values(parse(one(six, 1, {2, 2}, {3, 1})), "t"), (std::vector<float>{1, 2, 4, 5}));
    EXPECT_EQ(values(parse(one(six, 2, {3}, {0})), "t"), (std::vector<float>{2, 2, 2}));
    EXPECT_EQ(values(parse(one(six, 5, {}, {})), "t"), std::vector<float>{5});
    EXPECT_EQ(values(parse(one(six, 6, {0, 3}, {3, 1})), "t"), std::vector<float>{});
    // The stride of a dimension of 1 is never used.
    EXPECT_EQ(values(parse(one(six, 3, {1, 1}, {INT64_MAX, INT64_MAX})), "t"), std::vector<float>{3});
    EXPECT_EQ(values(parse(one(six, 0, {1, 3, 1, 2, 1}, {INT64_MAX, 2, INT64_MAX / 4, 1, 0})), "t"), zero_to_five);
}

TEST(pth, reads_every_type) {
    const auto type_of = [](const char *storage, std::size_t size) {
        const std::string object = pk::dict({pk::text("t"), pk::tensor(pk::storage(storage, "0", 2), 1, {1}, {1})});
        const std::string file = torch_zip(object, {{"0", std::string(2 * size, 'x')}});
        const checkpoint c = parse(file);
        EXPECT_EQ(c.find("t")->bytes.size(), size) << storage;
        EXPECT_EQ(c.find("t")->type_name, "torch."s + storage);
        return c.find("t")->type;
    };
    EXPECT_EQ(type_of("DoubleStorage", 8), dtype::f64);
    EXPECT_EQ(type_of("FloatStorage", 4), dtype::f32);
    EXPECT_EQ(type_of("HalfStorage", 2), dtype::f16);
    EXPECT_EQ(type_of("BFloat16Storage", 2), dtype::bf16);
    EXPECT_EQ(type_of("LongStorage", 8), dtype::i64);
    EXPECT_EQ(type_of("IntStorage", 4), dtype::i32);
    EXPECT_EQ(type_of("ShortStorage", 2), dtype::i16);
    EXPECT_EQ(type_of("CharStorage", 1), dtype::i8);
    EXPECT_EQ(type_of("ByteStorage", 1), dtype::u8);
    EXPECT_EQ(type_of("BoolStorage", 1), dtype::boolean);
    EXPECT_EQ(type_of("ComplexFloatStorage", 8), dtype::other);
    const std::string half = torch_zip(pk::dict({pk::text("t"), pk::tensor(pk::storage("HalfStorage", "0", 2), 0, {2}, {1})}),
                                       {{"0", "\x00\x3c\x01\x80"s}});
    EXPECT_EQ(values(parse(half), "t"), (std::vector<float>{1.0f, -0x1p-24f}));
}

TEST(pth, refuses_tensors_that_reach_outside_their_storage) {
    constexpr std::int64_t huge = INT64_MAX;
    expect_refused(one(six, 0, {7}, {1}), {"t: ", "outside its storage", "expected 6 elements", "[7]"});
    expect_refused(one(six, 1, {6}, {1}), {"outside its storage", "offset 1"});
    expect_refused(one(six, 7, {0}, {1}), {"outside its storage"});
    expect_refused(one(six, 0, {2, 2}, {5, 1}), {"outside its storage"});
    expect_refused(one(six, 0, {2}, {6}), {"outside its storage"});
    expect_refused(one(six, huge, {1}, {1}), {"outside its storage"});
    expect_refused(one(six, huge, {2}, {huge}), {"outside its storage"});
    expect_refused(one(six, 0, {2, 2}, {huge, huge}), {"outside its storage"});
    expect_refused(one(six, 0, {3}, {huge / 2 + 1}), {"outside its storage"}); // wraps to 0
    expect_refused(one(six, -1, {1}, {1}), {"t: ", "offset is wrong"});
    expect_refused(one(six, 0, {-1}, {1}), {"t: ", "sizes are wrong"});
    expect_refused(one(six, 0, {2}, {-1}), {"t: ", "strides are wrong"});
    expect_refused(one(six, 0, {2, 2}, {1}), {"t: ", "strides do not fit its sizes", "expected 2, found 1"});
    expect_refused(one(six, 0, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1}), {"t: ", "sizes are wrong", "found 9"});
    // Products that wrap to 0.
    expect_refused(one(six, 0, {std::int64_t{1} << 32, std::int64_t{1} << 32}, {0, 0}), {"t: ", "overflows"});
    expect_refused(one(six, 0, {std::int64_t{1} << 62, 4}, {0, 0}), {"t: ", "overflows"});
}

TEST(pth, refuses_storages_larger_than_their_entries) {
    for (const std::int64_t count : {std::int64_t{7}, std::int64_t{1} << 62, std::int64_t{INT64_MAX}})
        expect_refused(one(pk::storage("FloatStorage", "0", count), 0, {1}, {1}),
                       {"storage \"0\" is larger than its data", "at most 24 bytes", std::to_string(count)});
    EXPECT_EQ(values(parse(one(pk::storage("FloatStorage", "0", 5), 0, {5}, {1})), "t").size(), 5u); // smaller is harmless
    expect_refused(one(pk::storage("FloatStorage", "9", 6), 0, {1}, {1}), {"no entry ARCHIVE/data/9"});
    expect_refused(one(pk::storage("FloatStorage", "../data/0", 6), 0, {1}, {1}), {"no entry"});
    // Also where nobody reads it.
    expect_refused(torch_zip(pk::dict({pk::text("model"), pk::dict({pk::text("t"), t6}), pk::text("optimizer"),
                                       pk::tensor(pk::storage("FloatStorage", "0", 7), 0, {1}, {1})}),
                             {{"0", iota(6)}}),
                   {"larger than its data"});
}

TEST(pth, refuses_persistent_ids_of_the_wrong_form) {
    const auto id = [](std::initializer_list<std::string> fields) { return pk::tuple(fields) + "Q"; };
    const std::string tag = pk::text("storage");
    const std::string type = pk::global("torch", "FloatStorage");
    const std::string key = pk::text("0");
    const std::string cpu = pk::text("cpu");
    const std::string count = pk::integer(6);
    EXPECT_EQ(values(parse(one(id({tag, type, key, cpu, count}), 0, {6}, {1})), "t"), zero_to_five);
    const auto refuse = [](const std::string &storage, std::string_view word, error_kind code = error_kind::bad_format) {
        SCOPED_TRACE(word);
        expect_refused(one(storage, 0, {1}, {1}), {word}, code);
    };
    refuse("NQ", "wrong form: expected ('storage', class, key, device, count), found None");
    refuse(key + "Q", "found a string");
    refuse(id({}), "a tuple of 0");
    refuse(id({tag, type, key, cpu}), "a tuple of 4");
    refuse(id({tag, type, key, cpu, count, "N", "N"}), "a tuple of 7");
    refuse(id({pk::text("module"), type, key, cpu, count}), "another tag");
    refuse(id({"N", type, key, cpu, count}), "another tag");
    refuse(id({tag, key, key, cpu, count}), "a string as class");
    refuse(id({tag, type, "K\0"s, cpu, count}), "an integer as key");
    refuse(id({tag, type, pk::text(std::string(101, '0')), cpu, count}), "a key of 101 characters");
    refuse(id({tag, type, key, "N", count}), "None as device");
    refuse(id({tag, type, key, cpu, "N"}), "None as count");
    refuse(id({tag, type, key, cpu, pk::integer(-6)}), "an integer as count that is not natural");
    refuse(id({tag, type, key, cpu, "\x8a\x09" + std::string(9, '\1')}), "a long integer as count");
    refuse(id({tag, type, key, cpu, count, key}), "a string as view");
    refuse(id({tag, pk::global("torch", "FooStorage"), key, cpu, count}), "found torch.FooStorage", error_kind::unsupported);
    refuse(id({tag, pk::global("evil", "FloatStorage"), key, cpu, count}), "found evil.FloatStorage", error_kind::unsupported);
}

TEST(pth, refuses_tensors_with_wrong_arguments) {
    const auto refuse = [](std::initializer_list<std::string> arguments, std::string_view word) {
        const std::string tensor = pk::call(pk::global("torch._utils", "_rebuild_tensor_v2"), arguments);
        expect_refused(torch_zip(pk::dict({pk::text("t"), tensor}), {{"0", iota(6)}}), {"t: ", word});
    };
    const std::string zero = pk::integer(0);
    const std::string two = pk::integers({2});
    const std::string one_tuple = pk::integers({1});
    refuse({}, "number of arguments: expected 6 or 7, found 0");
    refuse({six, zero, two, one_tuple, "\x89"}, "found 5");
    refuse({six, zero, two, one_tuple, "\x89", "N", "N", "N"}, "found 8");
    refuse({"N", zero, two, one_tuple, "\x89", "N"}, "no storage: expected a persistent id, found None");
    refuse({six, "N", two, one_tuple, "\x89", "N"}, "offset is wrong");
    refuse({six, zero, "N", one_tuple, "\x89", "N"}, "sizes are wrong");
    refuse({six, zero, pk::list({pk::integer(2)}), one_tuple, "\x89", "N"}, "sizes are wrong");
    refuse({six, zero, pk::tuple({"N"}), one_tuple, "\x89", "N"}, "None that is not natural");
    refuse({six, zero, two, zero, "\x89", "N"}, "strides are wrong");
    refuse({six, zero, pk::tuple({pk::integers({2})}), one_tuple, "\x89", "N"}, "a sequence that is not natural");
}

// --- memory

// Opens the file and reads its tensors, or is refused; in both cases within three times its size and 64 MB, the file included.
void expect_bounded(const std::string &file) {
    const std::size_t peak = counted_memory::peak_of([&] {
        try {
            const checkpoint c = checkpoint::from_bytes(io_test::bytes_of(file), "FILE");
            std::vector<fastvit::tensor<float>> tensors;
            for (const stored_tensor &t : c.tensors())
                if (is_floating(t.type)) tensors.push_back(read_float(t));
        } catch (const fastvit::error &) {
        }
    });
    EXPECT_LE(peak, 2 * file.size() + (std::size_t{64} << 20)) << "for " << file.size() << " bytes";
}

std::string repeat(const std::string &part, std::size_t count) {
    std::string result;
    result.reserve(part.size() * count);
    for (std::size_t i = 0; i < count; ++i) result += part;
    return result;
}

TEST(pth, memory_is_bounded_for_pickles_of_many_values) {
    for (const std::string part : {"}0", "]0", "N\x94", "Na", "NQ0", "c\n\n0"}) {
        SCOPED_TRACE(part);
        expect_bounded(torch_zip("]" + repeat(part, (6 << 20) / part.size()), {}));
    }
    expect_bounded(io_test::legacy_magic + io_test::legacy_protocol + io_test::legacy_system() + pk::proto2 +
                   repeat("}0", 4 << 20));
}

TEST(pth, memory_is_bounded_for_many_views_of_a_storage) {
    // Each tensor has all of a storage of 4 MB.
    constexpr int elements = 1 << 20;
    std::string object = "}(" + pk::storage("FloatStorage", "0", elements) + "q\1" + "0";
    for (int i = 0; i < 1000; ++i)
        object +=
            pk::text(std::to_string(i)) + pk::call(pk::global("torch._utils", "_rebuild_tensor_v2"),
                                                   {"h\1", "K\0"s, pk::integers({elements}), pk::integers({1}), "\x89", "N"});
    const std::string file = torch_zip(object + "u", {{"0", std::string(4 * elements, '\0')}});
    expect_bounded(file);
    expect_refused(file, {"too large for the file", "bytes in all"});
    // One element, expanded a thousand million times.
    expect_refused(one(six, 0, {1000000000}, {0}), {"t: ", "too large for the file"});
}

TEST(pth, memory_is_bounded_for_many_tensors) {
    std::string object = "}(" + pk::tensor(pk::storage("FloatStorage", "0", 6), 0, {1}, {1}) + "q\1" + "0";
    for (std::size_t i = 0; i <= max_tensors; ++i) object += pk::text(std::to_string(i)) + "h\1";
    // On the stack there is room for half of them.
    expect_bounded(torch_zip(object + "u", {{"0", iota(6)}}));
    object = "}";
    for (std::size_t i = 0; i <= max_tensors; ++i)
        object += pk::text(std::to_string(i)) + (i == 0 ? pk::tensor(six, 0, {1}, {1}) + "q\1" : "h\1") + "s";
    expect_bounded(torch_zip(object, {{"0", iota(6)}}));
    expect_refused(torch_zip(object, {{"0", iota(6)}}), {"more than 65536 tensors"});
}

TEST(pth, memory_is_bounded_for_long_names) {
    // One name of 8 MB, used as the name of many tensors, as a class and as a key.
    const std::string name(8 << 20, 'n');
    const std::string tensor = pk::tensor(six, 0, {1}, {1});
    std::string object = pk::text(name) +
                         "q\1"
                         "0" +
                         tensor +
                         "q\2"
                         "0}";
    const std::string file = torch_zip(object + repeat("h\1h\2s", 1000), {{"0", iota(6)}});
    expect_bounded(file);
    expect_refused(file, {"name is too long", "found 8388608"});
    object = "c" + name + "\n" + name +
             "\n)Rq\1"
             "0" +
             tensor +
             "q\2"
             "0}" +
             pk::text("t") + "h\2s";
    for (int i = 0; i < 1000; ++i) object += pk::text(std::to_string(i)) + "h\1s";
    expect_bounded(torch_zip(object, {{"0", iota(6)}}));
}

TEST(pth, memory_is_bounded_for_many_entries) {
    io_test::named_data storages;
    for (int i = 0; i < 60000; ++i) storages.emplace_back(std::to_string(i), "");
    expect_bounded(torch_zip("N", storages));
}

TEST(safetensors, memory_is_bounded_for_many_tensors) {
    std::string header = "{";
    for (std::size_t i = 0; i < max_tensors; ++i)
        header += (i ? ",\"" : "\"") + std::to_string(i) + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
    expect_bounded(io_test::safetensors(header + "}"));
    expect_bounded(
        io_test::safetensors("{\"" + std::string(30 << 20, 'n') + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}"));
    expect_bounded(io_test::safetensors("{\"__metadata__\":{\"" + std::string(30 << 20, 'n') + "\":\"" +
                                        std::string(30 << 20, 'n') + "\"}}"));
}

// --- damage

const std::string small_object =
    pk::dict({pk::text("model"), pk::ordered_dict({pk::text("t"), t6, pk::text("u"), pk::tensor(six, 1, {2}, {2})}),
              pk::text("args"), pk::global("argparse", "Namespace") + ")\x81}b"});
const std::string small_legacy = torch_legacy(
    pk::dict({pk::text("t"), pk::tensor(pk::legacy_storage("FloatStorage", "0", 6), 0, {2, 3}, {3, 1}), pk::text("u"),
              pk::tensor(pk::legacy_storage("FloatStorage", "1", 2, pk::tuple({pk::text("v"), pk::integer(1), pk::integer(1)})),
                         0, {1}, {1})}),
    {{"0", iota(6)}, {"1", iota(2)}});

TEST(pth, refuses_every_truncation) {
    for (const std::string &file : {torch_zip(small_object, {{"0", iota(6)}}), small_legacy}) {
        EXPECT_EQ(io_test::open_and_read(file), 2u);
        for (std::size_t length = 0; length < file.size(); ++length)
            EXPECT_THROW(io_test::open_and_read(file.substr(0, length)), fastvit::error) << length;
    }
}

TEST(pth, survives_any_damage) {
    constexpr unsigned seed = 815;
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    // The archive's pickle is damaged before its checksum is made, or most damage would go no further.
    for (int kind = 0; kind < 2; ++kind) {
        int refused = 0;
        for (int i = 0; i < 4000; ++i) {
            std::string damaged = kind == 0 ? small_object : small_legacy;
            for (int k = static_cast<int>(random() % 3); k >= 0; --k)
                damaged[random() % damaged.size()] = static_cast<char>(random());
            try {
                io_test::open_and_read(kind == 0 ? torch_zip(damaged, {{"0", iota(6)}}) : damaged);
            } catch (const fastvit::error &) {
                ++refused;
            }
        }
        EXPECT_GT(refused, 1000);
    }
}

} // namespace
