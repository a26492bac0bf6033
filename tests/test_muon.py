"""Muon: orthogonal steps for matrices, Adam's for vectors, the same after a restart."""

import torch
from torch import nn

from stylization.muon import Muon, orthogonalized


def test_orthogonalized_keeps_the_directions_and_evens_out_their_sizes() -> None:
    torch.manual_seed(0)
    for rows, columns in ((8, 40), (40, 8), (16, 16)):
        u, _ = torch.linalg.qr(torch.randn(rows, min(rows, columns)))
        v, _ = torch.linalg.qr(torch.randn(columns, min(rows, columns)))
        sizes = torch.logspace(0, -1.5, min(rows, columns))
        found = u.T @ orthogonalized(u * sizes @ v.T) @ v
        assert 0.65 < found.diagonal().min() and found.diagonal().max() < 1.25
        assert (found - found.diagonal().diag()).abs().max() < 1e-4


def test_a_convolution_moves_by_the_rate_in_every_direction_whatever_the_gradient_s_size() -> None:
    torch.manual_seed(0)
    for size in (1e-3, 1e3):
        convolution = nn.Conv2d(3, 8, 3)
        before = convolution.weight.detach().clone()
        optimizer = Muon(convolution.parameters(), lr=0.01)
        convolution.weight.grad = size * torch.randn_like(convolution.weight)
        optimizer.step()
        moved = torch.linalg.svdvals((convolution.weight.detach() - before).flatten(1))
        assert moved.min() > 0.006 and moved.max() < 0.0125


def test_vectors_follow_adam_at_their_share_of_the_rate() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(5))
    muon, adam = Muon([ours], lr=0.05, vector_share=0.2), torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.99))
    for _ in range(4):
        ours.grad = theirs.grad = torch.randn(5)
        muon.step()
        adam.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_it_goes_on_where_it_was_stopped() -> None:
    def descended(num: int, optimizer: Muon, network: nn.Module) -> None:
        for step in range(num):
            optimizer.zero_grad()
            network(torch.full((1, 3, 6, 6), 0.1 * (step % 3))).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    networks = [nn.Conv2d(3, 4, 3) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    descended(6, Muon(networks[0].parameters()), networks[0])
    first = Muon(networks[1].parameters())
    descended(3, first, networks[1])
    second = Muon(networks[1].parameters())
    second.load_state_dict(first.state_dict())
    descended(3, second, networks[1])
    assert torch.equal(networks[0].weight, networks[1].weight) and torch.equal(networks[0].bias, networks[1].bias)


def test_a_checkpoint_s_count_of_steps_may_be_a_whole_number() -> None:
    moved = []
    for kept in (torch.as_tensor, int):
        bias = nn.Parameter(torch.zeros(3))
        optimizer = Muon([bias])
        for _ in range(2):
            bias.grad = torch.tensor([0.1, -0.2, 0.3])
            optimizer.step()
            state = optimizer.state_dict()
            for one in state["state"].values():
                one["step"] = kept(one["step"])
            optimizer.load_state_dict(state)
        moved.append(bias.detach().clone())
    assert torch.equal(*moved)
