"""The patch dictionary against its formula, written out patch by patch, and its symmetries."""

import pytest
import torch
from torch.nn.functional import interpolate

from ndm_apps.plugins.continual.immersion.patches import PatchDictionary


def images(count, *shape, seed=0):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fitted(x, **options):
    options = {"patch": 3, "filters": 4, "pool": (2,), "threshold": 0.25, "smoothing": 0.0, **options}
    immersion = PatchDictionary(**options)
    immersion.fit(x)
    return immersion


def responses(immersion, image):
    """Responses ``(rows, columns, filters)`` of one image ``(channels, height, width)``, from the stored bank."""
    h = immersion.patch
    rows, columns = image.shape[1] - h + 1, image.shape[2] - h + 1
    z = image.new_empty(rows, columns, immersion.bank.shape[1])
    for i in range(rows):
        for j in range(columns):
            q = image[:, i : i + h, j : j + h].flatten()
            q = (q - q.mean()) / (q.var(correction=0) + immersion.contrast).sqrt()
            z[i, j] = q @ immersion.bank[:-1] + immersion.bank[-1]
    return z


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 10)])
@pytest.mark.parametrize(("threshold", "power"), [(0.0, 1.0), (0.3, 0.5)])
def test_features_are_pooled_thresholded_responses(shape, threshold, power):
    x = images(12, *shape)
    immersion = fitted(x, threshold=threshold, power=power)
    rows, columns = shape[1] - 2, shape[2] - 2
    for image, phi in zip(x[:3], immersion(x[:3]), strict=True):
        z = responses(immersion, image)
        expected = []
        for i in range(2):
            for j in range(2):
                # Halves; an odd number of rows is shared in the middle.
                cell = z[i * rows // 2 : (rows * (i + 1) + 1) // 2, j * columns // 2 : (columns * (j + 1) + 1) // 2]
                expected += [(sign * cell - threshold).clamp(min=0).mean((0, 1)).pow(power) for sign in (1, -1)]
        torch.testing.assert_close(phi, torch.cat(expected))


def test_smooth_cells_are_gaussian_windows():
    x = images(12, 1, 8, 11)
    immersion, rows, columns = fitted(x, pool=(2,), smoothing=0.4, power=1.0), 6, 9
    z = responses(immersion, x[0]).sub(0.25).clamp(min=0)
    # The cell at the top right: windows centred on the quarters of the map, of standard deviation 0.4 * side / 2.
    down = torch.exp(-(((torch.arange(rows) - 1.0) / (0.4 * rows / 2)) ** 2) / 2).double()
    across = torch.exp(-(((torch.arange(columns) - 6.25) / (0.4 * columns / 2)) ** 2) / 2).double()
    expected = torch.einsum("rck,r,c->k", z, down / down.sum(), across / across.sum())
    torch.testing.assert_close(immersion(x[:1]).view(4, 2, 4)[1, 0], expected, rtol=1e-6, atol=1e-7)


def test_bank_whitens_the_patches():
    # With epsilon to 0 and as many patch pixels as filters, responses of a complete dictionary are uncorrelated
    # up to the dictionary itself: cov(z) = D D^T, with D of unit rows.
    x = images(400, 6, 6)
    immersion = fitted(x, filters=8, whitening=1e-12, contrast=1e-6)
    z = torch.cat([responses(immersion, image[None]).flatten(0, 1) for image in x[:150]])
    torch.testing.assert_close(z.T.cov().diagonal(), torch.ones(8, dtype=torch.float64), atol=0.1, rtol=0)
    assert z.mean(0).abs().max() < 0.05


def test_kmeans_lowers_the_quantisation_error():
    x = images(50, 8, 8).round()
    errors = {}
    for dictionary in ("random", "patches", "kmeans"):
        immersion = fitted(x, dictionary=dictionary, filters=12)
        z = torch.cat([responses(immersion, image[None]).flatten(0, 1) for image in x])
        # Minimising |p - z_k d_k|^2 over k is maximising z_k^2, for centred whitened patches.
        errors[dictionary] = -z.square().amax(1).mean()
    assert errors["kmeans"] < errors["patches"] and errors["kmeans"] < errors["random"]


def test_scale_and_offset_of_the_pixels_do_not_matter():
    x = images(30, 8, 8)
    torch.testing.assert_close(fitted(255 * x + 40)(255 * x + 40), fitted(x)(x))


@pytest.mark.parametrize("smoothing", [0.0, 0.4])
@pytest.mark.parametrize("pool", [(3,), (4, 2, 1)])
@pytest.mark.parametrize("shape", [(9, 9), (3, 8, 11)])
def test_mirrored_images_have_the_same_features(pool, shape, smoothing):
    x, options = images(20, *shape), {"pool": pool, "smoothing": smoothing}
    immersion, plain = fitted(x, mirror=True, **options), fitted(x, **options)
    torch.testing.assert_close(immersion(x), immersion(x.flip(-1)))
    torch.testing.assert_close(immersion(x), (plain(x) + plain(x.flip(-1))) / 2**0.5)
    assert (plain(x) - plain(x.flip(-1))).abs().max() > 0.1


def read_out(phi, y, solver, ridge):
    """Return weights and biases of ridge regression on one-hot labels, or of linear discriminant analysis."""
    members = torch.nn.functional.one_hot(y).double()
    means = members.T @ phi / members.sum(0)[:, None]
    if solver == "ridge":
        metric, right, bias = phi.T @ phi / len(phi), members.T @ phi / len(phi), 0.0
    else:
        spread = phi - means[y]
        metric, right, bias = spread.T @ spread / len(phi), means, -0.5
    weight = torch.linalg.solve(metric + ridge * torch.eye(len(metric)), right.T).T
    return weight, bias * (weight * means).sum(1)


@pytest.mark.parametrize("solver", ["ridge", "lda"])
def test_invariant_features_give_the_read_out_of_mirrored_data(solver):
    x, y, test = images(60, 6, 6), torch.arange(60) % 3, images(20, 6, 6, seed=1)
    plain, immersion = fitted(x, filters=2), fitted(x, filters=2, mirror=True)

    def both(z):
        return torch.cat([plain(z), plain(z.flip(-1))], 1)

    weight, bias = read_out(torch.cat([both(x), both(x.flip(-1))]), y.repeat(2), solver, 1e-3)
    half_weight, half_bias = read_out(immersion(x), y, solver, 1e-3)
    torch.testing.assert_close(both(test) @ weight.T + bias, immersion(test) @ half_weight.T + half_bias)


def test_more_filters_than_patches_keep_the_width():
    immersion = fitted(images(1, 5, 5), filters=20)
    assert immersion.features == 20 * 2 * 4
    z = responses(immersion, images(1, 5, 5, seed=1)[0][None])
    assert z.flatten(0, 1).std(0).min() > 0


@pytest.mark.parametrize("shape", [(30, 31), (3, 5, 5)])
def test_resize_brings_images_to_size_first(shape):
    x = images(10, *shape)
    smaller = interpolate(x if x.ndim == 4 else x[:, None], size=(12, 12), mode="bilinear", antialias=True)
    immersion, plain = fitted(x, resize=12), fitted(smaller)
    torch.testing.assert_close(immersion(x), plain(smaller))


def test_long_batches_are_mapped_in_pieces():
    x = images(40, 24, 24)
    immersion = fitted(x, filters=64)
    torch.testing.assert_close(immersion(x.repeat(3, 1, 1))[80:], immersion(x))


@pytest.mark.parametrize(
    ("shape", "options", "match"),
    [
        ((64,), {}, r"\(64,\), must be images"),
        ((1, 3, 8, 8), {}, "must be images"),
        ((8, 8), {"patch": 9}, r"patch: got 9.*\(8, 8\)"),
        ((8, 2), {}, r"patch: got 3.*\(8, 2\)"),
        ((8, 8), {"pool": (2, 7)}, "pool: got 7.*6 x 6"),
    ],
)
def test_what_is_no_image_or_too_small_is_refused(shape, options, match):
    with pytest.raises(ValueError, match=match):
        fitted(images(10, *shape), **options)


@pytest.mark.parametrize(
    "option",
    [
        {"patch": 0}, {"filters": 0}, {"pool": ()}, {"pool": (2, 0)}, {"resize": 0}, {"samples": 0}, {"contrast": 0.0},
        {"whitening": -1.0}, {"power": float("inf")}, {"threshold": -0.1}, {"smoothing": -0.1}, {"dictionary": "means"},
    ],
)  # fmt: skip
def test_wrong_options_are_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        PatchDictionary(**option)
