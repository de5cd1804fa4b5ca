import pytest
import torch

from ndm_apps.plugins.generative.judge import FEATURES, Judge, load_judge, train_judge


def sides(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy 8 x 8 images that are bright on the left (class 0) or on the right (class 1)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=generator)
    images = 0.3 * torch.rand(count, 1, 8, 8, generator=generator)
    images[labels == 0, ..., :4] += 0.6
    images[labels == 1, ..., 4:] += 0.6
    return images, labels


@pytest.fixture(scope="module")
def judge() -> Judge:
    return train_judge(*sides(400, 0), 2, epochs=1, seed=1000)


def test_it_tells_images_it_has_not_seen_and_is_sure_of_them(judge):
    images, labels = sides(200, 1)
    reading = judge.read(images)
    assert (reading.label == labels).double().mean() > 0.98
    assert reading.confidence.mean() > 0.95


def test_an_image_between_classes_is_less_certain_and_farther_from_its_reconstruction(judge):
    images, _ = sides(100, 2)
    mixed = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    assert judge.read(mixed).confidence.mean() < judge.read(images).confidence.mean()
    assert judge.residual(mixed).mean() > 1.3 * judge.residual(images).mean()


def test_the_same_seed_makes_the_same_judge_and_leaves_global_generators(judge):
    state = torch.random.get_rng_state()
    again = train_judge(*sides(400, 0), 2, epochs=1, seed=1000)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(judge.parameters(), again.parameters(), strict=True))


def test_paths_of_images_are_read_as_the_images_one_by_one(judge):
    images, _ = sides(12, 4)
    together, alone = judge.read(images.reshape(3, 4, 1, 8, 8)), judge.read(images)
    assert together.features.shape == (3, 4, FEATURES)
    torch.testing.assert_close(together.probabilities.flatten(0, 1), alone.probabilities)
    torch.testing.assert_close(judge.residual(images.reshape(3, 4, 1, 8, 8)).flatten(), judge.residual(images))


def test_a_saved_judge_judges_the_same(judge):
    images, _ = sides(20, 5)
    restored = load_judge(judge.state_dict(), (1, 8, 8), 2, images)
    assert torch.equal(restored.read(images).features, judge.read(images).features)


def test_vectors_of_any_scale_are_judged():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (300,), generator=generator)
    vectors = 1e4 + 500 * torch.randn(300, 5, generator=generator)
    vectors[:, 0] += 4000.0 * labels
    judge = train_judge(vectors, labels, 2, epochs=1, seed=1000)
    assert (judge.read(vectors).label == labels).double().mean() > 0.98
    # No worse than the mean vector, in the units of the vectors.
    assert judge.residual(vectors).mean() < (vectors - vectors.mean(0)).norm(dim=1).mean()
