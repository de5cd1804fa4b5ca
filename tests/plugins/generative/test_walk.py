import geoopt
import pytest
import torch

from ndm_apps.geometry import LearnedManifold
from ndm_apps.plugins.generative.metric import latent_metric
from ndm_apps.plugins.generative.walk import random_walk
from tests.plugins.generative.latent import codes, small_model


def test_walks_forget_where_they_began_and_end_as_the_density_has_it():
    model, generator = small_model(), torch.Generator().manual_seed(1000)
    centre = 3 * torch.eye(3, 4).double()[:1].expand(2000, 4)
    ends = random_walk(model, centre, generator, steps=150, size=0.8)
    known = model.sample(20000, generator)
    torch.testing.assert_close(ends.mean(0), known.mean(0), rtol=0, atol=0.15)
    torch.testing.assert_close(ends.var(0), known.var(0), rtol=0, atol=0.3)
    # Without the correction of Hastings the walk would stay where steps are short, that is far from data.
    levels = model.log_density(known).quantile(torch.tensor([0.1, 0.5, 0.9]).double())
    torch.testing.assert_close(
        model.log_density(ends).quantile(torch.tensor([0.1, 0.5, 0.9]).double()), levels, rtol=0, atol=0.2
    )


def test_short_walks_stay_near():
    model, start = small_model(), codes(200)
    ends = random_walk(model, start, torch.Generator().manual_seed(1), steps=10, size=0.1)
    moved = (ends - start).square().sum(1) / model.scale
    assert 0 < moved.mean() < 10 * 0.1**2


def test_geoopts_samplers_would_draw_another_momentum():
    metric = latent_metric(small_model())
    z = codes(1).expand(4000, 4)
    manifold, weight = LearnedManifold(metric), metric.conformal_weight(z[0])
    noise = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    drawn = manifold.egrad2rgrad(z, noise)  # what geoopt.samplers do
    torch.testing.assert_close(drawn.var(), weight**-2, rtol=0.1, atol=0)
    assert abs(drawn.var() * weight - 1) > 0.2  # the law asks for 1 / w
    with pytest.raises(ValueError, match="reversible"):
        geoopt.samplers.rsgld.RSGLD([geoopt.ManifoldParameter(z[0], manifold=manifold)], 0.1)


def test_a_start_without_data_is_refused():
    with pytest.raises(ValueError, match="start: "):
        random_walk(small_model(), 100 * codes(2).abs() + 100, torch.Generator())
