import pytest
import torch

from ndm_apps.geometry import Euclidean, Sphere
from ndm_apps.plugins.generative.clusters import class_means, geodesic_medoids, graph_distances
from ndm_apps.plugins.generative.metric import latent_metric
from ndm_apps.plugins.generative.paths import geodesic_paths
from tests.plugins.generative.latent import codes, small_model


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_medoids_find_the_groups_and_sit_in_their_middle():
    centres = 6 * torch.eye(3).double()
    truth = torch.arange(90) % 3
    z = centres[truth] + normal(90, 3)
    found = geodesic_medoids(Euclidean(3), z, 3, torch.Generator().manual_seed(1), neighbours=12)
    assert all(len(truth[found.labels == k].unique()) == 1 for k in range(3))
    assert (z[found.medoids] - centres[truth[found.medoids]]).norm(dim=1).max() < 1
    assert torch.equal(found.labels[found.medoids], torch.arange(3)) and (found.distance[found.medoids] == 0).all()


def test_distances_along_the_graph_are_no_shorter_than_geodesics():
    metric, z = latent_metric(small_model()), codes(60)
    along = graph_distances(metric, z, 8)
    torch.testing.assert_close(along, along.mT)
    length = geodesic_paths(metric, z[:10], z[20:30], 33).length
    ratio = along[torch.arange(10), torch.arange(20, 30)] / length
    assert (ratio > 0.97).all() and ratio.median() < 2


def test_the_mean_of_a_class_is_where_its_logarithms_cancel():
    z, labels = 0.4 * normal(20, 3), torch.arange(20) % 2
    found = class_means(Sphere(3), z, labels, iterations=40)
    assert found.point.shape == (2, 3) and found.converged.all()
    torch.testing.assert_close(
        class_means(Euclidean(3), z, labels).point, torch.stack([z[::2].mean(0), z[1::2].mean(0)])
    )


def test_means_of_codes_are_no_worse_than_means_of_coordinates():
    metric, z = latent_metric(small_model()), codes(24)
    labels = torch.cdist(z, 3 * torch.eye(3, 4).double()).argmin(1)
    least = int(labels.bincount().min())
    found = class_means(metric, z, labels, iterations=5)
    for k in range(3):
        part = z[labels == k][:least]
        flat = geodesic_paths(metric, part.mean(0).expand_as(part), part, 33).length.square().mean()
        assert found.variance[k] <= flat * (1 + 1e-6)


def test_wrong_arguments():
    z, generator = codes(5), torch.Generator()
    with pytest.raises(ValueError, match="count must be from 1 to 5 for 5 points, got 6"):
        geodesic_medoids(Euclidean(4), z, 6, generator, neighbours=2)
    with pytest.raises(ValueError, match="neighbours must be from 1 to 4 for 5 points, got 9"):
        geodesic_medoids(Euclidean(4), z, 2, generator, neighbours=9)
    with pytest.raises(ValueError, match="one for each of at least one point"):
        class_means(Euclidean(4), z, torch.zeros(4))
