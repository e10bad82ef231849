// SPDX-License-Identifier: MIT
#include "fastvit/image/crop.hpp"
#include "fastvit/preprocess.hpp"
#include "fastvit/preprocessing_config.hpp"

#include "support/io_test_files.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using fastvit::crop_rounding;
using fastvit::error_kind;
using fastvit::interpolation;
using fastvit::parse_preprocessing_config;
using fastvit::preprocessing;
using fastvit::preprocessing_config;
using fastvit::read_preprocessing_config;
using fastvit::resize_rule;
using io_test::expect_error;

// As timm writes it since 0.9, with some of the members that are not looked at.
const std::string nested = R"({
  "architecture": "fastvit_t8",
  "num_classes": 1000,
  "num_features": 768,
  "global_pool": "avg",
  "pretrained_cfg": {
    "tag": "apple_in1k",
    "custom_load": false,
    "input_size": [3, 256, 320],
    "fixed_input_size": false,
    "interpolation": "bilinear",
    "crop_pct": 0.95,
    "crop_mode": "squash",
    "mean": [0.1, 2e-1, 3],
    "std": [0.4, 0.5, 6.0E-1],
    "num_classes": 1000,
    "pool_size": [8, 8],
    "first_conv": ["stem.0.conv_kxk.0.conv", "stem.0.conv_scale.conv"],
    "classifier": "head.fc",
    "license": null,
    "hidden": {"a": [{"b": [-1.5e-3, true, false, null, "\u00e9"]}]}
  }
})";

// One with these members beside input_size.
preprocessing_config with(std::string_view members) {
    return parse_preprocessing_config(R"({"pretrained_cfg":{"input_size":[3,256,256])" + std::string(members.empty() ? "" : ",") +
                                      std::string(members) + "}}");
}

void expect_refused(std::string_view members, error_kind code, std::initializer_list<std::string_view> words) {
    SCOPED_TRACE(members);
    expect_error(code, words, [&] { with(members); });
}

TEST(timm_config, reads_timms_file) {
    const preprocessing_config c = parse_preprocessing_config(nested);
    EXPECT_EQ(c.height, 256);
    EXPECT_EQ(c.width, 320);
    EXPECT_EQ(c.filter, interpolation::bilinear);
    EXPECT_EQ(c.rule, resize_rule::squash);
    EXPECT_EQ(c.rounding, crop_rounding::half_to_even);
    EXPECT_EQ(c.crop_fraction, 0.95);
    EXPECT_EQ(c.mean, (std::array{0.1f, 0.2f, 3.0f}));
    EXPECT_EQ(c.stddev, (std::array{0.4f, 0.5f, 0.6f}));
    EXPECT_EQ(c.classes, 1000);
    EXPECT_TRUE(c.labels.empty());
}

TEST(timm_config, is_the_preset_of_imagenet_for_the_published_models) {
    const preprocessing_config c = with(
        R"("interpolation":"bicubic","crop_pct":0.9,"crop_mode":"center","mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225])");
    const preprocessing preset = preprocessing::imagenet();
    EXPECT_EQ(c.rule, preset.rule);
    EXPECT_EQ(c.filter, preset.filter);
    EXPECT_EQ(c.rounding, preset.rounding);
    EXPECT_EQ(c.height, preset.height);
    EXPECT_EQ(c.width, preset.width);
    EXPECT_EQ(c.crop_fraction, preset.crop_fraction);
    EXPECT_EQ(c.mean, preset.mean);
    EXPECT_EQ(c.stddev, preset.stddev);
    // What preprocess() makes with it.
    const std::vector<std::uint8_t> pixels(30 * 40 * 3, 77);
    const fastvit::picture_view picture{.pixels = pixels.data(), .height = 30, .width = 40};
    const auto expected = fastvit::preprocess(picture, preset), found = fastvit::preprocess(picture, c);
    EXPECT_TRUE(std::equal(expected.span().begin(), expected.span().end(), found.span().begin(), found.span().end()));
}

TEST(timm_config, reads_the_older_flat_form) {
    const preprocessing_config c =
        parse_preprocessing_config(R"({"architecture":"fastvit_t8","num_classes":7,"num_features":768,)"
                                   R"("input_size":[3,224,224],"crop_pct":1,"interpolation":"bilinear"})");
    EXPECT_EQ(c.height, 224);
    EXPECT_EQ(c.crop_fraction, 1);
    EXPECT_EQ(c.filter, interpolation::bilinear);
    EXPECT_EQ(c.classes, 7);
}

TEST(timm_config, reads_hugging_faces_wrapper) {
    const preprocessing_config c =
        parse_preprocessing_config(R"({"architecture":"fastvit_t8","architectures":["TimmWrapperForImageClassification"],)"
                                   R"("do_pooling":true,"initializer_range":0.02,"label_names":["cat","dog \ud83d\ude00"],)"
                                   R"("model_args":null,"model_type":"timm_wrapper","num_classes":2,)"
                                   R"("pretrained_cfg":{"input_size":[3,288,288],"num_classes":1000},)"
                                   R"("problem_type":"single_label_classification","torch_dtype":"float32"})");
    EXPECT_EQ(c.height, 288);
    EXPECT_EQ(c.classes, 2);
    EXPECT_EQ(c.labels, (std::vector<std::string>{"cat", "dog 😀"}));
}

TEST(timm_config, takes_timms_defaults_for_what_is_not_there_or_null) {
    for (
        const char *const members :
        {"",
         R"("interpolation":null,"crop_pct":null,"crop_mode":null,"mean":null,"std":null,"num_classes":null,"label_names":null)"}) {
        const preprocessing_config c = with(members);
        EXPECT_EQ(c.filter, interpolation::bicubic);
        EXPECT_EQ(c.crop_fraction, 0.875);
        EXPECT_EQ(c.rule, resize_rule::shorter_side);
        EXPECT_EQ(c.mean, preprocessing::imagenet().mean);
        EXPECT_EQ(c.stddev, preprocessing::imagenet().stddev);
        EXPECT_EQ(c.classes, 0);
        EXPECT_TRUE(c.labels.empty());
    }
    EXPECT_EQ(parse_preprocessing_config(R"({"input_size":[3,64,64],"pretrained_cfg":null})").height, 64);
}

TEST(timm_config, pretrained_cfg_alone_counts_but_for_the_classes) {
    const preprocessing_config c = parse_preprocessing_config(R"({"input_size":[3,64,64],"crop_pct":0.5,"num_classes":3,)"
                                                              R"("pretrained_cfg":{"input_size":[3,96,96],"num_classes":1000}})");
    EXPECT_EQ(c.height, 96);
    EXPECT_EQ(c.crop_fraction, 0.875);
    EXPECT_EQ(c.classes, 3);
}

TEST(timm_config, labels_of_another_head_are_left_out) {
    const auto labels = [](const char *top) {
        return parse_preprocessing_config("{" + std::string(top) +
                                          R"("pretrained_cfg":{"input_size":[3,96,96],"num_classes":2,"label_names":["a","b"]}})")
            .labels;
    };
    EXPECT_EQ(labels("").size(), 2u);
    EXPECT_EQ(labels(R"("num_classes":2,)").size(), 2u);
    EXPECT_TRUE(labels(R"("num_classes":3,)").empty());
    EXPECT_EQ(labels(R"("num_classes":1,"label_names":["c"],)"), std::vector<std::string>{"c"});
    // A dictionary may have names of some.
    EXPECT_EQ(with(R"("label_names":{"0":"a"},"num_classes":2)").labels, (std::vector<std::string>{"a", ""}));
    expect_refused(R"("num_classes":3,"label_names":["a","b"])", error_kind::bad_value, {"label_names", "expected 3", "found 2"});
}

// --- what is refused

TEST(timm_config, refuses_what_is_no_configuration) {
    const auto refused = [](std::string_view text, std::initializer_list<std::string_view> words) {
        SCOPED_TRACE(text.substr(0, 60));
        expect_error(error_kind::bad_format, words, [&] { (void)parse_preprocessing_config(text); });
    };
    refused("", {"expected an object, found the end"});
    refused("[]", {"expected an object, found '['"});
    refused("{}", {"no configuration for pictures", "input_size"});
    refused(R"({"pretrained_cfg":{}})", {"no configuration for pictures"});
    // input_size beside a pretrained_cfg is not its.
    refused(R"({"input_size":[3,64,64],"pretrained_cfg":{"mean":[0,0,0]}})", {"no configuration for pictures"});
    refused(R"({"model_type":"bert","hidden_size":768})", {"no configuration for pictures"});
    refused(R"({"pretrained_cfg":[]})", {"expected an object, found '['"});
    refused(R"({"input_size":[3,64,64]} x)", {"nothing after the closing brace"});
    refused("{\"input_size\":[3,64,64],\"\xff\":1}", {"expected UTF-8"});
    refused(nested.substr(0, nested.size() - 1), {"found the end"});
    refused(std::string(16 << 20, ' ') + "{}", {"too large for a text"});
    refused(R"({"a":1,})", {"expected a string, found '}'"});
}

TEST(timm_config, refuses_every_truncation) {
    for (std::size_t length = 0; length < nested.size(); ++length)
        EXPECT_THROW((void)parse_preprocessing_config(std::string_view(nested).substr(0, length)), fastvit::error) << length;
}

TEST(timm_config, refuses_nesting_without_end) {
    const auto deep = [](int levels, char open, char close) {
        const std::string inside = open == '{' ? "\"a\":" : "";
        std::string value;
        for (int i = 0; i < levels; ++i) value += open + inside;
        return "\"x\":" + value + "1" + std::string(static_cast<std::size_t>(levels), close);
    };
    EXPECT_EQ(with(deep(64, '[', ']')).height, 256);
    EXPECT_EQ(with(deep(64, '{', '}')).height, 256);
    expect_refused(deep(65, '[', ']'), error_kind::bad_format, {"at most 64 arrays and objects"});
    expect_refused(deep(65, '{', '}'), error_kind::bad_format, {"at most 64 arrays and objects"});
    expect_error(error_kind::bad_format, {"at most 64"}, [] { with("\"x\":" + std::string(1000000, '[')); });
}

TEST(timm_config, refuses_members_that_are_there_twice) {
    for (const char *const member : {R"("mean":[0,0,0])", R"("std":[1,1,1])", R"("crop_pct":1)", R"("interpolation":"bicubic")",
                                     R"("crop_mode":"center")", R"("num_classes":1)", R"("label_names":[])"}) {
        const std::string key(member, std::string_view(member).find(':'));
        expect_refused(std::string(member) + "," + member, error_kind::bad_format, {"twice", key.substr(1, key.size() - 2)});
    }
    expect_refused(R"("input_size":[3,1,1])", error_kind::bad_format, {"input_size twice"});
    // Two spellings of one name.
    expect_refused(R"("\u0069nput_size":[3,1,1])", error_kind::bad_format, {"input_size twice"});
    for (const char *const first : {"{}", "null"})
        expect_error(error_kind::bad_format, {"pretrained_cfg twice"}, [&] {
            (void)parse_preprocessing_config(R"({"pretrained_cfg":)" + std::string(first) +
                                             R"(,"pretrained_cfg":{"input_size":[3,1,1]}})");
        });
    // Also where only one of them has a value, or one that is used.
    expect_refused(R"("mean":null,"mean":[0,0,0])", error_kind::bad_format, {"mean twice"});
    expect_refused(R"("label_names":["a"],"label_names":{"0":"b"})", error_kind::bad_format, {"label_names twice"});
}

TEST(timm_config, refuses_sizes_that_cannot_be) {
    const auto size = [](std::string_view value, error_kind code, std::initializer_list<std::string_view> words) {
        SCOPED_TRACE(value);
        expect_error(code, words, [&] { (void)parse_preprocessing_config("{\"input_size\":" + std::string(value) + "}"); });
    };
    size("[]", error_kind::bad_format, {"input_size", "expected 3 numbers, found 0"});
    size("[3,64]", error_kind::bad_format, {"found 2"});
    size("[3,64,64,64]", error_kind::bad_format, {"found 4"});
    size("256", error_kind::bad_format, {"expected an array"});
    size("\"3,64,64\"", error_kind::bad_format, {"expected an array"});
    size("[3,-64,64]", error_kind::bad_format, {"natural number", "found '-'"});
    size("[3,64.0,64]", error_kind::bad_format, {"natural number"});
    size("[3,1e2,64]", error_kind::bad_format, {"natural number"});
    size("[3,18446744073709551616,64]", error_kind::bad_format, {"natural number", "a larger one"});
    size("[1,64,64]", error_kind::unsupported, {"input_size", "3 channels, found 1"});
    size("[12,64,64]", error_kind::unsupported, {"found 12"});
    size("[3,0,64]", error_kind::bad_value, {"input_size", "1 to 16384, found 0"});
    size("[3,64,16385]", error_kind::bad_value, {"input_size", "found 16385"});
    size("[3,281474976710656,64]", error_kind::bad_value, {"input_size"});
    EXPECT_EQ(parse_preprocessing_config(R"({"input_size":[3,1,16384],"crop_pct":0.5})").width, 16384);
}

TEST(timm_config, refuses_settings_that_are_not_run) {
    for (const char *const filter : {"nearest", "lanczos", "hamming", "box", "random", "", "Bicubic"})
        expect_refused("\"interpolation\":\"" + std::string(filter) + "\"", error_kind::unsupported,
                       {"interpolation", "expected bicubic or bilinear"});
    expect_refused(R"("crop_mode":"border")", error_kind::unsupported, {"crop_mode", "expected center or squash, found border"});
    expect_refused(R"("crop_mode":"corner")", error_kind::unsupported, {"found corner"});
    expect_refused(R"("interpolation":3)", error_kind::bad_format, {"expected a string, found '3'"});
    expect_refused("\"interpolation\":\"" + std::string(101, 'b') + "\"", error_kind::bad_format, {"at most 100 bytes"});
}

TEST(timm_config, refuses_numbers_that_make_no_sense) {
    for (const char *const crop : {"0", "-0.9", "-0", "1e-300", "1e300", "0.0001"})
        expect_refused("\"crop_pct\":" + std::string(crop), error_kind::bad_value, {"crop_pct"});
    for (const char *const number :
         {"01", "+1", ".5", "1.", "1e", "1e+", "--1", "NaN", "Infinity", "0x1", "1e999", "1e-999", "\"1\"", "[1]", "true", "-"})
        expect_refused("\"crop_pct\":" + std::string(number), error_kind::bad_format, {"bad JSON"});
    expect_refused(R"("mean":[0,0])", error_kind::bad_format, {"mean", "expected 3 numbers, found 2"});
    expect_refused(R"("std":[1,1,1,1])", error_kind::bad_format, {"std", "found 4"});
    expect_refused(R"("mean":[0,1e39,0])", error_kind::bad_value, {"mean", "float"});
    expect_refused(R"("mean":[0,-1e39,0])", error_kind::bad_value, {"mean", "float"});
    expect_refused(R"("std":[1,1,1e39])", error_kind::bad_value, {"std", "float"});
    for (const char *const stddev : {"0", "-1", "1e-300"})
        expect_refused("\"std\":[1," + std::string(stddev) + ",1]", error_kind::bad_value, {"std", "expected positive"});
    expect_refused(R"("num_classes":-1)", error_kind::bad_format, {"natural number"});
    expect_refused(R"("num_classes":1.5)", error_kind::bad_format, {"natural number"});
    expect_refused(R"("label_names":[1])", error_kind::bad_format, {"expected a string, found '1'"});
    EXPECT_EQ(with(R"("mean":[-1e-1,0,-0])").mean[0], -0.1f);
    EXPECT_EQ(with(R"("crop_pct":1.5)").crop_fraction, 1.5);
}

TEST(timm_config, bounds_the_labels) {
    std::string many = "\"label_names\":[\"\"";
    for (int i = 0; i < 65536; ++i) many += ",\"\"";
    expect_error(error_kind::bad_format, {"more than 65536 labels"}, [&] { with(many + "]"); });
    expect_error(error_kind::bad_format, {"more than 65536 labels"}, [] { with(R"("id2label":{"65536":"a"})"); });
    expect_error(error_kind::bad_format, {"at most 4096 bytes"},
                 [] { with("\"label_names\":[\"" + std::string(4097, 'x') + "\"]"); });
    expect_error(error_kind::bad_format, {"at most 4096 bytes"}, [] { with("\"" + std::string(4097, 'x') + "\":1"); });
    // Escapes count as what they mean.
    std::string escaped = "\"label_names\":[\"";
    for (int i = 0; i < 4097; ++i) escaped += "\\n";
    expect_error(error_kind::bad_format, {"at most 4096 bytes"}, [&] { with(escaped + "\"]"); });
}

// --- labels as objects

TEST(preprocessing_config, reads_labels_by_their_numbers) {
    const auto labels = [](const std::string &members) {
        return parse_preprocessing_config("{\"input_size\":[3,8,8]," + members + "}").labels;
    };
    using list = std::vector<std::string>;
    for (const char *const name : {"label_names", "id2label"}) {
        const std::string begin = "\"" + std::string(name) + "\":";
        EXPECT_EQ(labels(begin + R"({"1":"b","0":"a","2":"c"})"), (list{"a", "b", "c"}));
        EXPECT_EQ(labels(begin + R"({"2":"c"})"), (list{"", "", "c"}));
        EXPECT_EQ(labels(begin + R"(["a","b"])"), (list{"a", "b"}));
        EXPECT_EQ(labels(begin + R"({"n0144":"tench"})"), list{}); // of a synset
        EXPECT_EQ(labels(begin + R"({"0":null})"), list{});
        EXPECT_EQ(labels(begin + "7"), list{});
        expect_error(error_kind::bad_format, {"class 0 has two labels"}, [&] { labels(begin + R"({"0":"a","00":"b"})"); });
        expect_error(error_kind::bad_value, {"1 names", "found 2"},
                     [&] { labels(begin + R"({"0":"a","1":"b"},"num_classes":1)"); });
        EXPECT_EQ(labels(begin + R"({"0":"a","1":"b"},"num_classes":3)"), (list{"a", "b", ""}));
    }
    EXPECT_EQ(labels(R"("id2label":{"0":"a"},"pretrained_cfg":{"input_size":[3,8,8],"num_classes":1000})"), list{"a"});
}

// --- transformers

// A preprocessor_config.json of FastVLM's, with members changed or added.
preprocessing_config clip_with(std::string_view members) {
    std::string text = R"({"do_rescale":true,"do_resize":true)";
    const auto add = [&](const char *key, const char *value) {
        if (members.find("\"" + std::string(key) + "\"") == members.npos) text += ",\"" + std::string(key) + "\":" + value;
    };
    add("image_processor_type", "\"CLIPImageProcessor\"");
    add("do_center_crop", "true");
    add("do_normalize", "true");
    add("resample", "3");
    add("crop_size", R"({"height":1024,"width":1024})");
    add("size", R"({"shortest_edge":1024})");
    add("image_mean", "[0.0,0.0,0.0]");
    add("image_std", "[1.0,1.0,1.0]");
    add("rescale_factor", "0.00392156862745098");
    return parse_preprocessing_config(text + std::string(members.empty() ? "" : ",") + std::string(members) + "}");
}

TEST(transformers_config, of_fastvlm_is_its_preset_without_bars) {
    const preprocessing_config c = clip_with("");
    const preprocessing preset = preprocessing::fastvlm();
    EXPECT_EQ(c.kind, fastvit::config_kind::transformers);
    EXPECT_EQ(c.rule, resize_rule::shorter_side);
    EXPECT_EQ(c.filter, preset.filter);
    EXPECT_EQ(c.rounding, crop_rounding::down);
    EXPECT_EQ(c.height, 1024);
    EXPECT_EQ(c.width, 1024);
    EXPECT_EQ(c.crop_fraction, 1);
    EXPECT_EQ(c.mean, preset.mean);
    EXPECT_EQ(c.stddev, preset.stddev);
}

// What preprocess() resizes a picture to, before it cuts: floor(output / fraction) pixels.
fastvit::index_type resized(const preprocessing &how) { return fastvit::resampling::before_crop(how.height, how.crop_fraction); }

TEST(transformers_config, resizes_to_every_number_of_pixels) {
    for (const int crop : {1, 7, 224, 256, 299})
        for (int size = crop; size < crop + 200; ++size) {
            const preprocessing_config c =
                clip_with(R"("crop_size":)" + std::to_string(crop) + R"(,"size":)" + std::to_string(size));
            ASSERT_EQ(resized(c), size) << crop;
            ASSERT_EQ(c.height, crop);
        }
    // Larger than the picture, which black then frames.
    EXPECT_EQ(resized(clip_with(R"("crop_size":{"height":256,"width":256},"size":{"shortest_edge":224})")), 224);
}

TEST(transformers_config, reads_the_forms_of_vit_and_convnext) {
    const auto parse = [](const char *text) { return parse_preprocessing_config(text); };
    for (const char *const size : {"224", R"({"height":224,"width":224})", "[224,224]"}) {
        const preprocessing_config c = parse((R"({"image_processor_type":"ViTImageProcessor","size":)" + std::string(size) +
                                              R"(,"resample":2,"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.5,0.5]})")
                                                 .c_str());
        EXPECT_EQ(c.rule, resize_rule::squash);
        EXPECT_EQ(c.filter, interpolation::bilinear);
        EXPECT_EQ(c.height, 224);
        EXPECT_EQ(c.width, 224);
        EXPECT_EQ(c.crop_fraction, 1);
        EXPECT_EQ(c.mean[2], 0.5f);
    }
    const std::string next = R"({"feature_extractor_type":"ConvNextFeatureExtractor","resample":3,"crop_pct":0.875,)"
                             R"("image_mean":[0.485,0.456,0.406],"image_std":[0.229,0.224,0.225],"size":)";
    const preprocessing_config small = parse((next + R"({"shortest_edge":224}})").c_str()),
                               large = parse((next + "384}").c_str());
    EXPECT_EQ(small.rule, resize_rule::shorter_side);
    EXPECT_EQ(small.height, 224);
    EXPECT_EQ(resized(small), 256);
    EXPECT_EQ(large.rule, resize_rule::squash);
    EXPECT_EQ(large.height, 384);
    EXPECT_EQ(large.crop_fraction, 1);
    // CLIP's usual settings, which older files leave out.
    const preprocessing_config old = parse(R"({"feature_extractor_type":"CLIPFeatureExtractor","size":224})");
    const preprocessing usual = preprocessing::openai_clip(224);
    EXPECT_EQ(old.rule, usual.rule);
    EXPECT_EQ(old.height, 224);
    EXPECT_EQ(old.filter, interpolation::bicubic);
    EXPECT_EQ(old.mean, usual.mean);
    EXPECT_EQ(old.stddev, usual.stddev);
    EXPECT_EQ(clip_with(R"("do_normalize":false,"image_mean":[9,9,9])").mean, (std::array{0.0f, 0.0f, 0.0f}));
    // A size of both sides, and a square cut out of it.
    const preprocessing_config both = clip_with(R"("size":{"height":256,"width":256},"crop_size":224)");
    EXPECT_EQ(both.rule, resize_rule::squash);
    EXPECT_EQ(resized(both), 256);
}

TEST(transformers_config, refuses_what_is_not_run) {
    const auto refused = [](std::string_view members, std::initializer_list<std::string_view> words,
                            error_kind code = error_kind::unsupported) {
        SCOPED_TRACE(members);
        expect_error(code, words, [&] { clip_with(members); });
    };
    refused(R"("resample":1)", {"resample", "2 (bilinear) or 3 (bicubic)"});
    refused(R"("do_center_crop":false)", {"size", "of one size"});
    refused(R"("size":224,"size":224)", {"size twice"}, error_kind::bad_format);
    refused(R"("rescale_factor":0.00784313725490196)", {"rescale_factor", "1/255"});
    refused(R"("do_flip_channel_order":true)", {"do_flip_channel_order"});
    refused(R"("size":{"longest_edge":224})", {"size", "shortest_edge"});
    refused(R"("size":{"shortest_edge":224,"longest_edge":448})", {"size"});
    refused(R"("size":{"height":224})", {"size"});
    refused(R"("crop_size":{"height":224,"width":320})", {"crop_size", "a square"});
    refused(R"("size":{"shortest_edge":0})", {"size", "found 0"}, error_kind::bad_value);
    refused(R"("crop_size":16385)", {"crop_size", "found 16385"}, error_kind::bad_value);
    refused(R"("size":"large")", {"natural number"}, error_kind::bad_format);
    refused(R"("size":[1,2,3])", {"size", "2 numbers, found 3"}, error_kind::bad_format);
    refused(R"("do_pad":1,"do_flip_channel_order":1)", {"true or false"}, error_kind::bad_format);
    refused(R"("image_std":[1,0,1])", {"std", "positive"}, error_kind::bad_value);
    const auto other = [](const char *text, std::initializer_list<std::string_view> words,
                          error_kind code = error_kind::unsupported) {
        SCOPED_TRACE(text);
        expect_error(code, words, [&] { (void)parse_preprocessing_config(text); });
    };
    other(R"({"image_processor_type":"CLIPImageProcessor","do_resize":false})", {"do_resize"});
    other(R"({"image_processor_type":"CLIPImageProcessor","do_rescale":false})", {"do_rescale"});
    other(R"({"image_processor_type":"CLIPImageProcessor","resample":0})", {"resample"});
    other(R"({"image_processor_type":"CLIPImageProcessor","size":{"shortest_edge":224},"do_center_crop":false})",
          {"size", "of one size"});
    other(R"({"image_processor_type":"ViTImageProcessor"})", {"resample"}, error_kind::bad_format);
    other(R"({"image_processor_type":"ViTImageProcessor","resample":2})", {"image_mean"}, error_kind::bad_format);
    other(R"({"model_type":"llava","hidden_size":7})", {"no configuration for pictures"}, error_kind::bad_format);
}

// --- open_clip

TEST(open_clip_config, reads_all_modes) {
    const auto parse = [](const std::string &preprocess) {
        return parse_preprocessing_config(R"({"model_cfg":{"embed_dim":512,"vision_cfg":{"timm_model_name":"fastvit_mci0",)"
                                          R"("image_size":256},"text_cfg":{"width":512}},"preprocess_cfg":)" +
                                          preprocess + "}");
    };
    const preprocessing_config c = parse(R"({"mean":[0,0,0],"std":[1,1,1],"interpolation":"bilinear","resize_mode":"shortest"})");
    const preprocessing preset = preprocessing::mobileclip();
    EXPECT_EQ(c.kind, fastvit::config_kind::open_clip);
    EXPECT_EQ(c.rule, preset.rule);
    EXPECT_EQ(c.filter, preset.filter);
    EXPECT_EQ(c.rounding, preset.rounding);
    EXPECT_EQ(c.height, 256);
    EXPECT_EQ(c.crop_fraction, 1);
    EXPECT_EQ(c.mean, preset.mean);
    EXPECT_EQ(c.stddev, preset.stddev);
    const preprocessing_config usual = parse("{}"), openai = parse(R"({"size":[224,320],"resize_mode":"squash","fill_color":3})");
    EXPECT_EQ(usual.mean, preprocessing::openai_clip().mean);
    EXPECT_EQ(usual.stddev, preprocessing::openai_clip().stddev);
    EXPECT_EQ(usual.filter, interpolation::bicubic);
    EXPECT_EQ(openai.height, 224);
    EXPECT_EQ(openai.width, 320);
    EXPECT_EQ(openai.rule, resize_rule::squash);
    EXPECT_EQ(parse(R"({"resize_mode":"longest","fill_color":[0,0,0]})").rule, resize_rule::longer_side);
    expect_error(error_kind::unsupported, {"fill_color"}, [&] { parse(R"({"resize_mode":"longest","fill_color":[0,1,0]})"); });
    expect_error(error_kind::unsupported, {"resize_mode", "found other"}, [&] { parse(R"({"resize_mode":"other"})"); });
    expect_error(error_kind::unsupported, {"interpolation", "found random"}, [&] { parse(R"({"interpolation":"random"})"); });
    expect_error(error_kind::bad_format, {"size of the pictures"},
                 [] { (void)parse_preprocessing_config(R"({"preprocess_cfg":{"mean":[0,0,0]}})"); });
}

// --- files

TEST(preprocessing_config, drops_a_byte_order_mark_and_refuses_utf_16) {
    EXPECT_EQ(parse_preprocessing_config("\xef\xbb\xbf" + nested).width, 320);
    std::string wide = "\xff\xfe";
    for (const char c : nested) wide += {c, '\0'};
    expect_error(error_kind::unsupported, {"UTF-16", "save it as UTF-8"}, [&] { (void)parse_preprocessing_config(wide); });
    expect_error(error_kind::unsupported, {"UTF-16"}, [&] { (void)parse_preprocessing_config(wide.substr(2)); });
}

TEST(preprocessing_config, is_found_beside_a_checkpoint) {
    const io_test::temporary_directory directory;
    const auto find = [&] { return fastvit::find_config(directory / "model.safetensors"); };
    const auto write = [&](const char *name, const std::string &text) { io_test::write_file(directory / name, text); };
    EXPECT_FALSE(find().how);
    EXPECT_TRUE(find().labels_file.empty());

    write("config.json", R"({"model_type":"llava_qwen2","image_aspect_ratio":"pad","id2label":{"0":"a","1":"b"}})");
    EXPECT_FALSE(find().how);
    EXPECT_EQ(find().labels, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(find().labels_file, directory / "config.json");
    const std::string clip = R"({"image_processor_type":"CLIPImageProcessor","crop_size":64,"size":64,"image_mean":[0,0,0],)"
                             R"("image_std":[1,1,1]})";
    write("preprocessor_config.json", clip);
    write("open_clip_config.json", R"({"preprocess_cfg":{"size":96}})");
    EXPECT_EQ(find().how_file, directory / "preprocessor_config.json");
    EXPECT_EQ(find().how->height, 64);
    EXPECT_EQ(find().how->rule, resize_rule::pad_to_square); // FastVLM's
    write("preprocessor_config.json", R"({"image_processor_type":"CLIPImageProcessor","crop_size":64,"size":64})");
    expect_error(error_kind::unsupported, {"preprocessor_config.json: image_aspect_ratio"}, find);

    write("config.json", nested);
    EXPECT_EQ(find().how_file, directory / "config.json");
    EXPECT_EQ(find().how->width, 320);
    EXPECT_TRUE(find().labels_file.empty());
    write("config.json", "[1]");
    expect_error(error_kind::bad_format, {"config.json: bad JSON"}, find);
}

TEST(timm_config, an_error_names_the_file) {
    const io_test::temporary_directory directory;
    io_test::write_file(directory / "config.json", nested);
    EXPECT_EQ(read_preprocessing_config(directory / "config.json").width, 320);
    io_test::write_file(directory / "broken.json", "{]");
    expect_error(error_kind::bad_format, {"broken.json: bad JSON at byte 1", "expected a string, found ']'"},
                 [&] { (void)read_preprocessing_config(directory / "broken.json"); });
    expect_error(error_kind::io, {"absent: cannot open: No such file"},
                 [&] { (void)read_preprocessing_config(directory / "absent"); });
    expect_error(error_kind::io, {"is a directory"}, [&] { (void)read_preprocessing_config(directory.path()); });
}

TEST(timm_config, survives_any_damage) {
    constexpr unsigned seed = 20261123;
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    int refused = 0;
    for (int i = 0; i < 20000; ++i) {
        std::string damaged = nested;
        for (int k = static_cast<int>(random() % 3); k >= 0; --k)
            damaged[random() % damaged.size()] = static_cast<char>(random());
        try {
            (void)parse_preprocessing_config(damaged);
        } catch (const fastvit::error &) {
            ++refused;
        }
    }
    EXPECT_GT(refused, 10000);
}

} // namespace
