// SPDX-License-Identifier: MIT
// From pictures to the answer in one call: the bits of preprocess() and forward(), whatever the pictures.
// Labels: threads
#include "fastvit/executor.hpp"
#include "fastvit/model.hpp"
#include "fastvit/preprocess.hpp"

#include "support/counted_allocations.hpp"
#include "support/custom_networks.hpp"
#include "support/golden_files.hpp"
#include "support/io_test_files.hpp"
#include "support/results.hpp"
#include "support/seeded.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using fastvit::index_type;
using io_test::expect_error;

/// Noise, in memory that ends with the last pixel, so that sanitizers see reads past it.
class noise {
  public:
    noise(index_type height, index_type width, index_type channels = 3, index_type between_rows = 0) {
        const index_type row = width * channels, stride = row + between_rows;
        bytes_.resize(static_cast<std::size_t>((height - 1) * stride + row));
        auto state = static_cast<std::uint64_t>(height * 1000003 + width * 101 + channels);
        for (std::uint8_t &b : bytes_) {
            state = state * 6364136223846793005U + 1442695040888963407U;
            b = static_cast<std::uint8_t>(state >> 56);
        }
        view_ = {.pixels = bytes_.data(),
                 .height = height,
                 .width = width,
                 .channels = channels,
                 .row_stride = between_rows > 0 ? stride : 0};
    }
    noise(noise &&) = default; // the bytes stay where they are
    const picture_view &view() const { return view_; }

  private:
    std::vector<std::uint8_t> bytes_;
    picture_view view_;
};

std::vector<noise> pictures_of_all_kinds() {
    std::vector<noise> all;
    for (const index_type channels : {1, 3, 4})
        for (const auto &[height, width] : {std::pair<index_type, index_type>{1, 1}, {5, 7}, {97, 33}, {64, 64}, {48, 72}})
            for (const index_type between_rows : {0, 1, 13}) all.emplace_back(height, width, channels, between_rows);
    return all;
}

std::vector<picture_view> views_of(const std::vector<noise> &pictures) {
    std::vector<picture_view> views;
    for (const noise &p : pictures) views.push_back(p.view());
    return views;
}

std::vector<preprocessing> preprocessings() {
    preprocessing wide = preprocessing::imagenet(1, 1);
    wide.height = 48, wide.width = 72;
    preprocessing squashed = preprocessing::mobileclip(33);
    squashed.rule = resize_rule::squash, squashed.width = 47;
    return {preprocessing::imagenet(64), preprocessing::imagenet(64, 1), preprocessing::fastvlm(40), wide, squashed};
}

/// What preprocess() makes of the pictures, as one batch.
tensor<float> preprocessed(const std::vector<picture_view> &pictures, const preprocessing &how) {
    tensor<float> batch({static_cast<index_type>(pictures.size()), 3, how.height, how.width});
    for (std::size_t i = 0; i < pictures.size(); ++i) {
        const tensor<float> one = preprocess(pictures[i], how);
        std::copy(one.span().begin(), one.span().end(), batch[static_cast<index_type>(i)].data());
    }
    return batch;
}

results run_pictures(const model &net, const std::vector<picture_view> &pictures, const preprocessing &how, workspace &space) {
    return copied(net.forward(pictures, how, space, everything(net.architecture())));
}

TEST(pictures, give_the_bits_of_preprocess_and_forward) {
    const std::vector<noise> pictures = pictures_of_all_kinds();
    for (const graph form : {graph::folded, graph::train_time}) {
        const model net = small_model(form);
        workspace kept;
        for (const preprocessing &how : preprocessings())
            for (const noise &p : pictures) {
                SCOPED_TRACE(std::to_string(p.view().height) + " x " + std::to_string(p.view().width) + " x " +
                             std::to_string(p.view().channels) + ", rows of " + std::to_string(p.view().row_stride) + ", to " +
                             std::to_string(how.height) + " x " + std::to_string(how.width));
                const results expected = run(net, preprocess(p.view(), how));
                expect_same_bits(expected, copied(net.forward(p.view(), how, kept, everything(net.architecture()))));
                expect_same_bits(expected, run_pictures(net, {p.view()}, how, kept));
            }
    }
}

TEST(pictures, of_any_sizes_are_one_batch) {
    const std::vector<noise> all = pictures_of_all_kinds();
    const std::vector<picture_view> views = views_of(all);
    for (const graph form : {graph::folded, graph::train_time}) {
        const model net = small_model(form);
        workspace kept;
        // Of 64 x 64, 16 are run together.
        for (const std::size_t count : {std::size_t{2}, views.size(), std::size_t{3}, std::size_t{17}})
            for (const preprocessing &how : preprocessings()) {
                SCOPED_TRACE(std::to_string(count) + " to " + std::to_string(how.height) + " x " + std::to_string(how.width));
                const std::vector<picture_view> some(views.end() - static_cast<std::ptrdiff_t>(count), views.end());
                expect_same_bits(run(net, preprocessed(some, how)), run_pictures(net, some, how, kept));
            }
    }
}

// Also where the stem encodes the image's rows.
TEST(pictures, that_are_their_own_crop_are_read_where_they_are) {
    const preprocessing how = preprocessing::imagenet(64, 1);
    const noise own(64, 64);
    const noise others[] = {noise(64, 64, 4), noise(64, 64, 1), noise(64, 64, 3, 5), noise(63, 64), noise(64, 65)};
    for (const precision type : precisions) {
        const model net(seeded_checkpoint(small_net(), io::spelling::timm), {.precision = type});
        workspace space;
        for (const noise &other : others) {
            for (const std::vector<picture_view> &batch : {std::vector{own.view()}, std::vector{other.view()},
                                                           std::vector{own.view(), other.view()}, std::vector{own.view()}})
                expect_same_bits(run(net, preprocessed(batch, how)), run_pictures(net, batch, how, space));
        }
        picture_view blue_first = own.view();
        blue_first.order = fastvit::channel_order::bgr;
        expect_same_bits(run(net, preprocess(blue_first, how)), run_pictures(net, {blue_first}, how, space));
        // Not cropped to the same size, but enlarged first.
        expect_same_bits(run(net, preprocess(own.view(), preprocessing::imagenet(64, 0.5))),
                         run_pictures(net, {own.view()}, preprocessing::imagenet(64, 0.5), space));
    }
}

// Runs the last task first, each on another worker's memory.
class backwards final : public executor {
  public:
    int workers() const noexcept override { return 5; }
    void run(index_type tasks, task_ref task) override {
        for (index_type i = tasks; i-- > 0;) task(i, static_cast<int>(i * 3 % 5));
    }
};

TEST(pictures, give_the_same_bits_on_any_executor) {
    const std::vector<noise> all = pictures_of_all_kinds();
    const std::vector<picture_view> views = views_of(all);
    for (const graph form : {graph::folded, graph::train_time}) {
        const model net = small_model(form);
        for (const preprocessing &how : preprocessings())
            for (const std::vector<picture_view> &batch : {views, {views.back()}}) {
                const results expected = run(net, preprocessed(batch, how));
                for (const int workers : {1, 2, 3}) {
                    thread_pool pool(workers);
                    workspace space(pool);
                    expect_same_bits(expected, run_pictures(net, batch, how, space));
                }
                backwards last_first;
                workspace space(last_first);
                expect_same_bits(expected, run_pictures(net, batch, how, space));
            }
    }
}

TEST(pictures, allocate_nothing_after_the_first_call) {
    const std::vector<noise> all = pictures_of_all_kinds();
    const std::vector<picture_view> views = views_of(all);
    const long before = allocations;
    EXPECT_EQ(tensor<float>({5}).count(), 5);
    ASSERT_GT(allocations, before) << "the counter does not count";
    for (const graph form : {graph::folded, graph::train_time}) {
        const model net = small_model(form);
        const output_kind wanted = everything(net.architecture());
        thread_pool pool(2);
        workspace serial, pooled(pool);
        for (workspace *const space : {&serial, &pooled})
            for (const preprocessing &how : preprocessings())
                for (const std::vector<picture_view> &batch : {views, {views.back()}}) {
                    net.forward(batch, how, *space, wanted);
                    const long first = allocations;
                    for (int i = 0; i < 3; ++i) net.forward(batch, how, *space, wanted);
                    EXPECT_EQ(allocations, first);
                }
    }
}

TEST(pictures, that_cannot_be_are_refused_as_preprocess_refuses_them) {
    const model net = small_model();
    const noise good(40, 50);
    const preprocessing how = preprocessing::imagenet(32);
    workspace space, fresh;
    const results expected = copied(net.forward(good.view(), how, fresh));
    const auto expect_same_error = [&](const picture_view &picture, const preprocessing &wrong) {
        const std::string refused = io_test::thrown_by([&] { (void)preprocess(picture, wrong); });
        EXPECT_NE(refused, "nothing");
        EXPECT_EQ(io_test::thrown_by([&] { net.forward(picture, wrong, space); }), refused);
        EXPECT_EQ(io_test::thrown_by([&] { net.forward(std::vector{good.view(), picture}, wrong, space); }), refused);
        EXPECT_EQ(io_test::thrown_by([&] { net.forward_into({&picture, 1}, wrong, space, {}); }), refused);
        // It is as good as new.
        expect_same_bits(expected, copied(net.forward(good.view(), how, space)));
    };
    const auto with_picture = [&](const std::function<void(picture_view &)> &spoil) {
        picture_view p = good.view();
        spoil(p);
        expect_same_error(p, how);
    };
    with_picture([](picture_view &p) { p.pixels = nullptr; });
    with_picture([](picture_view &p) { p.height = 0; });
    with_picture([](picture_view &p) { p.width = -1; });
    with_picture([](picture_view &p) { p.height = (index_type{1} << 20) + 1; });
    with_picture([](picture_view &p) { p.channels = 2; });
    with_picture([](picture_view &p) { p.row_stride = p.width * 3 - 1; });
    with_picture([](picture_view &p) { p.row_stride = std::numeric_limits<index_type>::max() / 2; });
    const auto with_preprocessing = [&](const std::function<void(preprocessing &)> &spoil) {
        preprocessing wrong = how;
        spoil(wrong);
        expect_same_error(good.view(), wrong);
    };
    with_preprocessing([](preprocessing &w) { w.height = 0; });
    with_preprocessing([](preprocessing &w) { w.width = (index_type{1} << 14) + 1; });
    with_preprocessing([](preprocessing &w) { w.crop_fraction = 0; });
    with_preprocessing([](preprocessing &w) { w.crop_fraction = std::numeric_limits<double>::quiet_NaN(); });
    with_preprocessing([](preprocessing &w) { w.mean[1] = std::numeric_limits<float>::infinity(); });
    with_preprocessing([](preprocessing &w) { w.stddev[2] = 0; });
}

TEST(pictures, are_refused_where_the_network_cannot_take_them) {
    const noise good(40, 50);
    const preprocessing how = preprocessing::imagenet(32);
    for (const index_type channels : {1, 5}) {
        const model net(seeded_checkpoint(make({plain(1, 16, 32), plain(1, 32, 64)}, 64, 6, channels), io::spelling::timm));
        workspace space, fresh;
        const std::string expected = "[N, " + std::to_string(channels) + ", H, W]";
        expect_error(error_kind::invalid_argument, {expected, "[1, 3, 32, 32]"}, [&] { net.forward(good.view(), how, space); });
        expect_error(error_kind::invalid_argument, {expected, "[1, 3, 32, 32]"}, [&] {
            net.forward_into({&good.view(), 1}, how, space, {});
        });
        const tensor<float> images = seeded_input({1, channels, 20, 30});
        expect_same_bits(copied(net.forward(images, fresh)), copied(net.forward(images, space)));
    }
}

TEST(pictures, must_be_there) {
    const model net = small_model();
    const noise good(40, 50);
    workspace space, fresh;
    for (preprocessing how : {preprocessing::imagenet(32), preprocessing::imagenet(32, 1)}) {
        expect_error(error_kind::invalid_argument, {"no pictures"},
                     [&] { net.forward(std::vector<picture_view>(), how, space); });
        expect_error(error_kind::invalid_argument, {"no pictures"},
                     [&] { net.forward_into(std::vector<picture_view>(), how, space, {}); });
        expect_same_bits(copied(net.forward(good.view(), how, fresh)), copied(net.forward(good.view(), how, space)));
    }
}

TEST(pictures, are_refused_an_output_that_the_network_does_not_have) {
    architecture headless = small_net();
    headless.classes = 0;
    const model net(seeded_checkpoint(headless, io::spelling::timm));
    const noise good(40, 50);
    const preprocessing how = preprocessing::imagenet(32);
    workspace space, fresh;
    expect_error(error_kind::invalid_argument, {"logits"}, [&] { net.forward(good.view(), how, space); });
    expect_same_bits(copied(net.forward(good.view(), how, fresh, output_kind::embedding)),
                     copied(net.forward(good.view(), how, space, output_kind::embedding)));
}

} // namespace
