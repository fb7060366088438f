"""Text to mesh, amortised over many prompts, from nothing: our own teacher, judge and world (AToM, arXiv 2402.00867).

The paper's teacher is a text-to-image model trained on the web. Here it is a small one trained on pictures of a world
of coloured blocks that we render; it knows pictures only, no shapes. Score distillation from it trains one generator on
many prompts at once. A judge that learnt from pictures drawn in other ways says which prompt it sees in the meshes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from glasshouse.evaluation.steps import Evaluation, Measured, conclude
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.recipe import recipe
from glasshouse.vision.diffusion.denoising import DenoisingSettings
from glasshouse.vision.mesh.baseline_steps import SinglePrompts, measure_latency, settle, train_single_prompts
from glasshouse.vision.mesh.claims import ABLATIONS, CLAIMS
from glasshouse.vision.mesh.generator import GeneratorConfig
from glasshouse.vision.mesh.judge import JudgeSettings
from glasshouse.vision.mesh.judge_steps import judge_teacher, train_world_judge
from glasshouse.vision.mesh.measuring import Looking
from glasshouse.vision.mesh.objectives import MeshTraining
from glasshouse.vision.mesh.per_prompt import ALONE, REFINING
from glasshouse.vision.mesh.prompt_sets import PromptSet, prompt_set
from glasshouse.vision.mesh.sds import Distillation
from glasshouse.vision.mesh.steps import TrainedTextToMesh, train_text_to_mesh
from glasshouse.vision.mesh.teacher_steps import TeacherSettings, folder_teacher, train_teacher
from glasshouse.vision.mesh.two_stage import MeshStage, Stages, VolumeStage
from glasshouse.vision.mesh.world_steps import render_blocks
from glasshouse.vision.mesh.worlds.blocks_world import BlocksSettings

CRITIC = Distillation()
LONGER = 2.0
"""Pictures of a hyper-network that is trained longer, in those of the others."""
SINGLE = 3
"""Prompts that are optimised one by one."""
REFINED = 4
"""Unseen prompts that are refined."""
TIMED = 8
"""Prompts that the time to a file is measured with."""
FOLDER_CRITIC = Distillation(guidance=20, least=0.02, most=0.98, most_at_end=0.98)
"""What is published for DeepFloyd IF (threestudio, dreamfusion-if.yaml)."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        few, many: training on 56 of 64 prompts, and on 72 of 576.
    """

    world: BlocksSettings
    teacher: TeacherSettings
    generator: GeneratorConfig
    few: MeshTraining
    many: MeshTraining
    looking: Looking


SIZES = {
    # 4,800 pictures: 120 updates on volumes and 180 on meshes, of 4 prompts from 4 views; and 7,200.
    "small": Sizes(
        BlocksSettings(), TeacherSettings(), GeneratorConfig(), MeshTraining(),
        MeshTraining(stages=Stages(volume=VolumeStage(updates=180), mesh=MeshStage(updates=270))), Looking(),
    ),
    "large": Sizes(
        BlocksSettings(size=64, azimuths=18),
        TeacherSettings(
            widths=(96, 160, 224), depth=2, attention=(1, 2), text_width=128,
            denoising=DenoisingSettings(steps=4000, batch_size=128, learning_rate=1e-3),
        ),
        GeneratorConfig.large(), MeshTraining.large(), MeshTraining.large(), Looking(size=64, resolution=48),
    ),
}  # fmt: skip


@recipe
def text_to_mesh(
    seeds: int = 1,
    ablations: bool = False,
    teacher: str = "",
    prompts: str = "df27",
    scale: str = "small",
    device: str = "cpu",
) -> Evaluation:
    """Train a text-to-mesh model from nothing, and see what amortising over prompts is worth.

    Args:
        seeds: generators of every kind.
        ablations: also train in one stage, a hyper-network for longer, and from true pictures instead of a teacher.
        teacher: folder of a DeepFloyd IF or Stable Diffusion model on this machine, to learn from that instead.
        prompts: with --teacher, the set of prompts: pig64, animal2400, df27 or df415.
        scale: small, for two cores; large, for a GPU.
        device: where to train: cpu, or cuda.
    """
    if seeds < 1 or scale not in SIZES:
        raise ConfigurationError(
            f"text_to_mesh takes at least 1 seed and a scale of {' or '.join(SIZES)}, got {seeds} and {scale!r}"
        )
    if teacher:
        return with_folder_teacher(teacher, prompts, SIZES[scale], device)
    sizes, few, many = SIZES[scale], prompt_set("blocks64"), prompt_set("blocks576")
    world = render_blocks(sizes.world)
    taught = train_teacher(world, sizes.teacher, device)
    judge = train_world_judge(world, JudgeSettings(), device)

    def generator(
        prompts: PromptSet, training: MeshTraining, kind: str = "triplane", critic: Distillation | None = CRITIC
    ) -> TrainedTextToMesh:
        config = sizes.generator.but(kind=kind)
        return train_text_to_mesh(taught, judge, world, prompts, config, training, critic, sizes.looking, device)

    def one_by_one(
        prompts: Sequence[str], training: MeshTraining = ALONE, start: TrainedTextToMesh | None = None
    ) -> SinglePrompts:
        return train_single_prompts(
            taught, judge, world, prompts, sizes.generator, CRITIC, sizes.looking, training, start, device
        )

    models: dict[str, TrainedTextToMesh] = {}
    for seed in range(seeds):
        few_on, many_on = sizes.few.but(seed=seed), sizes.many.but(seed=seed)
        models[f"64 prompts, seed {seed}"] = generator(few, few_on.but(measure_every=20))
        models[f"576 prompts, seed {seed}"] = generator(many, many_on)
        models[f"576 prompts, hypernet, seed {seed}"] = generator(many, many_on, "hypernet")
        if ablations:
            longer = many_on.times(LONGER)
            models[f"576 prompts, hypernet longer, seed {seed}"] = generator(many, longer, "hypernet")
            models[f"64 prompts, one stage, seed {seed}"] = generator(few, few_on.in_one_stage())
    if ablations:
        models["64 prompts, true pictures, seed 0"] = generator(few, sizes.few, critic=None)
    model = models["576 prompts, seed 0"]
    parts: dict[str, Measured] = {
        "judge": judge,
        "teacher": judge_teacher(taught, judge, world, device=device),
        **models,
        "costs": settle(
            {f"seed {seed}": models[f"64 prompts, seed {seed}"] for seed in range(seeds)},
            one_by_one(spread(few.seen, SINGLE)),
            {name: item for name, item in models.items() if name.startswith("576")},
        ),
        "refined": one_by_one(spread(many.unseen, REFINED), REFINING, model),
        "latency": measure_latency(model, spread(many.unseen, TIMED)),
    }
    return conclude(parts, claims=[*CLAIMS, *(ABLATIONS if ablations else ())])


def with_folder_teacher(folder: str, prompts: str, sizes: Sizes, device: str) -> Evaluation:
    """Learn a set of prompts from a teacher that was trained elsewhere; no judge is at hand, so nothing is claimed."""
    planes = sizes.generator.planes.but(entry="attended")  # texts are long: their tokens are looked at, not laid flat
    model = train_text_to_mesh(
        folder_teacher(folder), None, None, prompt_set(prompts), sizes.generator.but(planes=planes), sizes.few,
        FOLDER_CRITIC, sizes.looking, device,
    )  # fmt: skip
    return conclude({"model": model}, claims=[])


def spread(prompts: Sequence[str], count: int) -> Sequence[str]:
    """So many prompts, evenly over all of them."""
    return prompts[:: len(prompts) // count][:count]
