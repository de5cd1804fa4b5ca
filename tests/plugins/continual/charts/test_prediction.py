import torch

from ndm_apps.plugins.continual.charts.prediction import mixture


def test_mixture_of_one_expert_is_the_expert():
    logits = torch.tensor([[[1.0, 2.0, -torch.inf], [3.0, 0.0, -torch.inf]]])
    alone = torch.tensor([[-torch.inf, 0.0]])
    torch.testing.assert_close(mixture(logits, alone, solver="lda"), torch.log_softmax(logits[:, 1], -1))
    torch.testing.assert_close(mixture(logits, alone, solver="ridge"), logits[:, 1])


def test_mixture_is_the_weighted_mean_of_probabilities():
    logits = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([[0.2, 0.3, 0.5]]).expand(5, 3)
    expected = (torch.softmax(logits, -1) * weights[..., None]).sum(1)
    torch.testing.assert_close(mixture(logits, weights.log(), solver="lda").exp(), expected)
