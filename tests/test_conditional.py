"""Many styles in one generator: rows are styles, mixtures are mixtures, and a style that is added changes no other."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Tiny
from PIL import Image
from safetensors.torch import load_file
from test_training import hydra as hydra
from test_training import rows, run
from torch import Tensor
from torch.nn import functional as F

import stylization
from stylization import cli, images, runs
from stylization.conditions import LARGEST_STROKE, Condition, condition, conditional, mixed, sampled
from stylization.errors import InputError
from stylization.generators import Johnson
from stylization.muon import Muon
from stylization.normalization import Conditional, Norm, norms, with_one_style
from stylization.objective import Objective
from stylization.tiles import Tiled
from stylization.training import Training


def table(channels: int = 6, num_styles: int = 3, **options: object) -> Conditional:
    norm = Conditional(channels, num_styles=num_styles, **options)  # type: ignore[arg-type]
    torch.manual_seed(0)
    for weights in (norm.gamma, norm.beta):
        weights.data += torch.randn_like(weights)
    return norm


def painter(num_styles: int = 3) -> Johnson:
    torch.manual_seed(0)
    network = Johnson(lambda channels: table(channels, num_styles), width=4, num_blocks=1)
    return network.eval()


def one(style: int, num_styles: int = 3, strength: float = 1.0, scale: float = 1.0) -> Condition:
    return Condition.of([float(i == style) for i in range(num_styles)], strength, scale)


@pytest.mark.parametrize("options", [{}, {"channels_per_group": "all"}, {"statistics": "running"}])
def test_a_style_is_a_norm_of_its_own(options: dict[str, object]) -> None:
    norm, x = table(**options).eval(), torch.randn(2, 6, 5, 7)
    plain = Norm(6, **options).eval()  # type: ignore[arg-type]
    for style in range(3):
        plain.gamma.data, plain.beta.data = norm.gamma.data[2 + style], norm.beta.data[2 + style]  # type: ignore[union-attr]
        condition(norm, one(style))
        torch.testing.assert_close(norm(x), plain(x), rtol=1e-6, atol=1e-6)


def test_rows_are_no_style_size_and_the_styles() -> None:
    wanted = one(1, strength=0.25, scale=LARGEST_STROKE)
    assert wanted.rows(strength=True, size=True).tolist() == [[0.75, 0.25, 0.0, 0.25, 0.0]]
    assert wanted.rows(strength=False, size=False).tolist() == [[0.0, 1.0, 0.0]]
    assert one(1, scale=1 / LARGEST_STROKE).size.item() == -1 and one(1, scale=9).size.item() == 1


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("training", [True, False])
def test_each_picture_of_a_batch_has_its_own_style_and_gradients(order: torch.memory_format, training: bool) -> None:
    norm = table().train(training)
    x = torch.randn(3, 6, 5, 7).contiguous(memory_format=order).requires_grad_()
    drawn = Condition(torch.eye(3), torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.0, 1.0, -0.5]))
    weights = torch.randn(3, 6, 5, 7)
    condition(norm, drawn)
    y = norm(x)
    found = torch.autograd.grad((y * weights).sum(), [x, norm.gamma, norm.beta])
    total, singly = torch.zeros(()), []
    for i in range(3):
        condition(norm, Condition(drawn.mix[i : i + 1], drawn.strength[i : i + 1], drawn.size[i : i + 1]))
        singly.append(norm(x[i : i + 1]))
        total = total + (singly[-1] * weights[i : i + 1]).sum()
    torch.testing.assert_close(y, torch.cat(singly), rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(found, torch.autograd.grad(total, [x, norm.gamma, norm.beta]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_style_costs_two_numbers_a_channel() -> None:
    def count(num_styles: int) -> int:
        return sum(p.numel() for p in painter(num_styles).parameters())

    channels = sum(norm.num_channels for norm in norms(painter()))
    assert count(9) - count(8) == 2 * channels


def test_every_style_is_drawn_as_often_and_half_of_the_time_at_full_strength() -> None:
    torch.manual_seed(0)
    drawn = Condition.drawn(0, 3 * 200, 3, strength=True, size=True)
    assert drawn.mix.sum(0).tolist() == [200, 200, 200]
    plain = (drawn.strength == 1) & (drawn.size == 0)
    assert drawn.mix[plain].sum(0).tolist() == [100, 100, 100]
    assert 0 <= drawn.strength.min() < 0.05 and -1 <= drawn.size.min() < -0.9 and 0.9 < drawn.size.max() <= 1
    fixed = Condition.drawn(5, 100, 3, strength=False, size=False)
    assert (fixed.strength == 1).all() and (fixed.size == 0).all()


def test_mixtures() -> None:
    styles = ["a", "b", "c"]
    assert mixed("b", styles).tolist() == [0, 1, 0]
    torch.testing.assert_close(mixed({"a": 3, "c": 1}, styles), torch.tensor([0.75, 0, 0.25]))
    sky = torch.rand(4, 5)
    by_mask = mixed({"b": sky, "a": None}, styles)
    torch.testing.assert_close(by_mask, torch.stack([1 - sky, sky, torch.zeros(4, 5)]))
    for wrong in ("d", {"a": -1.0}, {"a": 0.0}, {"a": torch.zeros(2, 2)}, {"a": sky, "b": torch.rand(5, 4)}):
        with pytest.raises(InputError):
            mixed(wrong, styles)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(16, 24), (5, 9), (40, 31)])
def test_maps_are_stretched_as_by_linear_interpolation(size: tuple[int, int]) -> None:
    maps = torch.rand(1, 2, 16, 24)
    whole = ((0, size[0]), (0, size[1]))
    expected = F.interpolate(maps, size, mode="bilinear")
    torch.testing.assert_close(sampled(maps, size, whole), expected, rtol=1e-5, atol=1e-5)
    part = sampled(maps, size, ((2, 4), (3, 8)))
    torch.testing.assert_close(part, expected[..., 2:4, 3:8], rtol=1e-5, atol=1e-5)


def test_a_mask_that_is_the_same_everywhere_is_a_mixture() -> None:
    network, x = painter(), torch.rand(1, 3, 32, 40)
    condition(network, Condition.of([0.2, 0.3, 0.5], 0.8))
    expected = network(x)
    condition(network, Condition.of(torch.tensor([0.2, 0.3, 0.5])[:, None, None].expand(3, 8, 8), 0.8))
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


def test_by_tiles_masks_lie_where_they_do_on_the_whole() -> None:
    network, x = painter(), torch.rand(1, 3, 151, 203)
    condition(network, Condition.of(mixed({"a": torch.rand(9, 13), "b": None}, ["a", "b", "c"])))
    painted = torch.zeros_like(x)

    def write(box: tuple[tuple[int, int], tuple[int, int]], part: Tensor) -> None:
        painted[..., slice(*box[0]), slice(*box[1])] = part

    with torch.no_grad():
        Tiled(network, 400e3)(x.shape[2:], lambda rows, columns: x[..., slice(*rows), slice(*columns)], write)  # type: ignore[arg-type]
        assert (painted - network(x)).abs().max() < 0.2 / 255


def test_with_one_style_is_the_generator_as_it_was_asked() -> None:
    network, x = painter(), torch.rand(2, 3, 20, 28)
    condition(network, Condition.of([0.5, 0.5, 0.0], 0.7, 1.2))
    single = with_one_style(network)
    assert not conditional(single) and len(conditional(network)) == 7
    torch.testing.assert_close(single(x), network(x))


def test_added_styles_leave_the_others_as_they_are_bit_for_bit() -> None:
    network, x = painter(), torch.rand(2, 3, 20, 28)
    condition(network, one(1, strength=0.6))
    before = network(x).detach()
    network.requires_grad_(False)
    for norm in conditional(network):
        norm.add_styles(1)
    optimizer = Muon([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        condition(network, one(3, 4, strength=0.5, scale=1.3))
        optimizer.zero_grad()
        network(x).square().mean().backward()
        optimizer.step()
    condition(network, one(1, 4, strength=0.6))
    assert torch.equal(network(x), before)
    assert all(not torch.equal(norm.gamma[-1], norm.gamma[2:-1].mean(0)) for norm in conditional(network))


def pictures(num: int, size_px: int = 32) -> list[Tensor]:
    random = torch.Generator().manual_seed(3)
    return [torch.rand(1, 3, size_px, size_px, generator=random) for _ in range(num)]


WEIGHTS = {"content": 1.0, "style": 30.0, "tv": 0.1, "photograph": 10.0}


def objective(tiny: Tiny, style: Tensor | list[list[Tensor]], **options: object) -> Objective:
    return Objective(tiny, style, ["relu2_1"], ["relu1_1", "relu2_1"], WEIGHTS, **options)  # type: ignore[arg-type]


def test_each_image_is_held_to_its_own_style(tiny: Tiny, photographs: Tensor) -> None:
    first, second = pictures(2)
    stylized = photographs.flip(3)
    drawn = Condition(torch.eye(2), torch.ones(2), torch.zeros(2))
    terms = objective(tiny, [[first], [second]])(stylized, photographs, drawn)
    singly = [
        objective(tiny, style)(stylized[i : i + 1], photographs[i : i + 1])["style"]
        for i, style in enumerate((first, second))
    ]
    torch.testing.assert_close(terms["style"], torch.stack(singly).mean())
    assert terms["photograph"] == 0


def test_strength_weighs_style_against_the_photograph(tiny: Tiny, photographs: Tensor) -> None:
    (style,) = pictures(1)
    held_to = objective(tiny, [[style]])
    stylized = photographs.flip(3)
    full = held_to(stylized, photographs, one(0, 1))
    half = held_to(stylized, photographs, one(0, 1, strength=0.5))
    none = held_to(stylized, photographs, one(0, 1, strength=0.0))
    torch.testing.assert_close(half["style"], full["style"] / 4)
    torch.testing.assert_close(half["photograph"], none["photograph"] / 4)
    assert full["photograph"] == 0 and none["style"] == 0 and none["photograph"] > 0
    assert held_to(photographs, photographs, one(0, 1, strength=0.0))["photograph"] == 0


def test_size_goes_from_the_small_picture_to_the_large(tiny: Tiny, photographs: Tensor) -> None:
    small, middle, large = pictures(3)
    held_to = objective(tiny, [[small, middle, large]])
    for scale, picture in ((1 / LARGEST_STROKE, small), (1.0, middle), (LARGEST_STROKE, large)):
        terms = held_to(photographs, photographs, one(0, 1, scale=scale))
        torch.testing.assert_close(terms["style"], objective(tiny, picture)(photographs, photographs)["style"])


def test_a_style_may_have_a_weight_of_its_own(tiny: Tiny, photographs: Tensor) -> None:
    first, second = pictures(2)
    plain = objective(tiny, [[first], [second]])
    weighted = objective(tiny, [[first], [second]], style_weights=[None, 60.0])
    for style, factor in ((0, 1.0), (1, 2.0)):
        terms = (held_to(photographs, photographs, one(style, 2))["style"] for held_to in (plain, weighted))
        torch.testing.assert_close(factor * next(terms), next(terms))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hydra import initialize_config_dir

    from stylization.configuration import CONF, register_resolvers

    folder = tmp_path_factory.mktemp("conditional")
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run(folder, "norm=conditional", "style=several", "style.names=[mosaic,ink]", "style.size_px=64")
    return folder


def test_a_run_of_several_styles_tells_the_terms_of_each(trained: Path) -> None:
    facts = json.loads((trained / "summary.json").read_text())
    assert facts["styles"] == ["mosaic", "ink"] and facts["style"] == "mosaic+ink"
    for term in ("content", "style", "tv", "total"):
        by_style = [facts["val_by_style"][style][term] for style in facts["styles"]]
        assert facts["val"][term] == pytest.approx(sum(by_style) / 2, rel=1e-5)
        logged = [float(row[f"val/ink/{term}"]) for row in rows(trained) if row.get(f"val/ink/{term}")]
        assert logged[-1] == pytest.approx(facts["val_by_style"]["ink"][term], rel=1e-5)
    sheet = Image.open(trained / "samples" / "step_000006.png")
    assert sheet.width == 3 * 48 + 2 * 6  # the photograph and each style


def photograph(folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 52, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder / "photo.png"


def test_styles_mixtures_and_masks_on_the_command_line(trained: Path, tmp_path: Path) -> None:
    photo = photograph(tmp_path)
    mask = tmp_path / "left.png"
    Image.fromarray(np.uint8(255) * (np.arange(52) < 26).astype(np.uint8)[None].repeat(40, 0)).save(mask)
    painted = {}
    for style in ("mosaic", "ink", "mosaic=0.6,ink=0.4", f"mosaic={mask},ink"):
        output = tmp_path / f"painted{len(painted)}.png"
        cli.main(["apply", str(photo), "--model", str(trained), "--style", style, "--output", str(output)])
        painted[style] = np.asarray(Image.open(output)).astype(int)
    assert len({picture.tobytes() for picture in painted.values()}) == 4
    stylizer = stylization.load(trained)
    picture = Image.open(photo)
    assert np.array_equal(np.asarray(stylizer(picture, style="ink")), painted["ink"])
    mixture = np.asarray(stylizer(picture, style={"mosaic": 0.6, "ink": 0.4})).astype(int)
    assert np.abs(mixture - painted["mosaic=0.6,ink=0.4"]).max() <= 1


def test_wrong_styles_are_told_in_one_line(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, model, output = str(photograph(tmp_path)), str(trained), str(tmp_path / "painted.png")
    told = {
        ("--model", model): "which style? This model has mosaic, ink",
        ("--model", model, "--style", "candy"): "no style 'candy' in this model: it has mosaic, ink",
        ("--model", model, "--style", "mosaic=,ink"): "write it as mosaic=0.6,ink=0.4",
        ("--model", model, "--style", "mosaic=gone.png,ink"): "gone.png",
        (): "give --style, or --model",
    }
    for words, line in told.items():
        with pytest.raises(SystemExit) as left:
            cli.main(["apply", photo, "--output", output, *words])
        error = capsys.readouterr().err
        assert left.value.code == 2 and line in error and error.count("\n") == 1
    assert not Path(output).exists()


def test_style_of_one_generator_that_has_no_other(tmp_path: Path) -> None:
    run(tmp_path / "single")
    stylizer = stylization.load(tmp_path / "single")
    picture = Image.open(photograph(tmp_path))
    assert np.array_equal(np.asarray(stylizer(picture, style="mosaic")), np.asarray(stylizer(picture)))
    with pytest.raises(InputError, match="no style 'ink' in this model: it has one, mosaic"):
        stylizer(picture, style="ink")


def test_add_style_trains_its_rows_and_nothing_else(trained: Path, tmp_path: Path) -> None:
    added = tmp_path / "added"
    run(added, "experiment=add_style", f"model={trained}", "style=waves", "generator.width=16")
    facts = json.loads((added / "summary.json").read_text())
    assert facts["styles"] == ["mosaic", "ink", "waves"] and set(facts["val_by_style"]) == set(facts["styles"])
    before, after = (load_file(folder / runs.MODEL) for folder in (trained, added))
    for name, weights in before.items():
        assert torch.equal(weights, after[name][: len(weights)]) or "running" in name
    picture = Image.open(photograph(tmp_path))
    ours, theirs = stylization.load(added), stylization.load(trained)
    for style in ("mosaic", "ink"):
        x = images.to_tensor(picture)
        assert torch.equal(ours(x, style=style, strength=0.4), theirs(x, style=style, strength=0.4))
    assert not np.array_equal(np.asarray(ours(picture, style="waves")), np.asarray(ours(picture, style="ink")))
    with pytest.raises(InputError, match="has the style ink already"):
        run(tmp_path / "again", "experiment=add_style", f"model={trained}", "style=ink")


def test_several_styles_need_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="several styles in one generator need norm=conditional"):
        run(tmp_path, "style=several", "style.names=[mosaic,ink]")
    run(tmp_path / "single")
    with pytest.raises(InputError, match="has one style and no table"):
        run(tmp_path / "added", "experiment=add_style", f"model={tmp_path / 'single'}", "style=ink")


@pytest.mark.parametrize("to", ["onnx", "safetensors"])
def test_one_style_of_several_is_exported(trained: Path, tmp_path: Path, to: str) -> None:
    output = tmp_path / f"ink.{to}"
    cli.main(["export", str(trained), "--to", to, "--style", "ink", "--output", str(output)])
    picture = Image.open(photograph(tmp_path))
    single, whole = stylization.load(output), stylization.load(trained)
    assert single.facts["style"] == "ink" and "styles" not in single.facts
    ours, theirs = (np.asarray(x).astype(int) for x in (single(picture), whole(picture, style="ink")))
    assert np.abs(ours - theirs).max() <= 1


def test_all_styles_are_exported_in_half(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "half.safetensors"
    cli.main(["export", str(trained), "--to", "safetensors", "--half", "--output", str(output)])
    assert stylization.load(output).facts["styles"] == ["mosaic", "ink"]
    assert output.stat().st_size < 0.8 * (trained / runs.MODEL).stat().st_size


def test_a_card_tells_what_a_model_is_and_its_gap(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = tmp_path / "run"
    shutil.copytree(trained, run_folder)
    facts = json.loads((trained / "summary.json").read_text())
    cli.main(["models", str(run_folder)])
    told = capsys.readouterr().out
    assert "mosaic, ink" in told and "not measured" in told and "6 steps of 2 photographs out of 7, at 32 px" in told
    assert f"| {facts['val_by_style']['ink']['total']:.2f} |" in told
    size = ["--photos", "1", "--size-px", "32"]
    cli.main(["models", str(run_folder), "--iterative", "3", *size, "--picture", str(tmp_path / "made.png")])
    told = capsys.readouterr().out
    assert "iterative method after 3 steps, on 1 of them at 32 px" in told
    gaps = stylization.load(run_folder).facts["gap"]["by_style"]
    assert set(gaps) == {"mosaic", "ink"} and all(gap > 0 for gap in gaps.values())
    picture = Image.open(tmp_path / "made.png")
    assert picture.size == (3 * 38 - 6, 38 + 26 - 6)
    x = torch.rand(1, 3, 20, 20)  # the weights are as they were
    assert torch.equal(stylization.load(run_folder)(x, style="ink"), stylization.load(trained)(x, style="ink"))
    cli.main(["evaluate", str(run_folder)])
    assert "it has a table of styles" in capsys.readouterr().err


def test_training_draws_the_styles_in_turn(tiny: Tiny) -> None:
    held_to = objective(tiny, [[x] for x in pictures(3)])
    module = Training(painter(), held_to, optimizer=None, schedule=None, styles=["a", "b", "c"])  # type: ignore[arg-type]
    content = torch.rand(2, 3, 32, 32)
    mean, by_style = module.held_out_terms(content)
    assert list(by_style) == ["a", "b", "c"] and list(mean) == ["content", "style", "tv", "total"]
    totals = [terms["total"].item() for terms in by_style.values()]
    assert len(set(totals)) == 3 and float(mean["total"]) == pytest.approx(sum(totals) / 3)
