"""From whole modules to modules spread over processes, in a fixed order.

    tensor parallel -> activation checkpointing -> compile per block -> FSDP

The order is that of the arithmetic from the inside out: matrices are split first; what is recomputed and what is
compiled then contains the split products; gathering of weights (FSDP2's `fully_shard` [arXiv 2304.11277]) is outermost,
one group per block and one for the rest.

Precision as in OLMo (arXiv 2402.00838, section 3.1): master weights and optimiser state in fp32, gradients summed in
fp32, and with `precision="bf16"` the matrices of blocks are gathered in bf16, as autocast would have them.
Deviation: embedding, head and everything that is no matrix stay in fp32, as they are without FSDP, so that sharding
changes no number but by the order of sums. Vectors (norms, biases) stay whole in every process: they are less than a
thousandth of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module
from torch.distributed.tensor.parallel import PrepareModuleInputOutput as Prepare
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from glasshouse.store.configuration import ConfigurationError
from glasshouse.training.objective import Objective, blocks
from glasshouse.training.parallel import ParallelPlan
from glasshouse.training.shards import put


def parallelize(
    objective: Objective,
    plan: ParallelPlan,
    *,
    device: torch.device,
    seed: int,
    precision: Literal["bf16", "fp32"] = "bf16",
    compile_blocks: Callable[[], bool] = lambda: False,
) -> tuple[bool, ExitStack]:
    """Spread what learns and what is carried as `plan` says, in place; ranks start from rank 0's weights.

    Modules on the meta device are filled part by part with what their `draw(name, shape, seed)` gives, so that no
    process ever holds a whole model. Returns whether blocks were compiled, and what takes the recomputation of
    activations off again. Raises `ConfigurationError` for a component that cannot be split or filled.
    """
    components = {**objective.carries, **objective.learns}
    _broadcast(components.values(), plan)
    if plan.layout.tensor > 1:
        for name, module in components.items():
            _split(module, plan.mesh(device)["tensor"], name)
    undo = ExitStack()
    if plan.config.activation_checkpointing != "none":
        for block in _layers(objective):
            undo.callback(_recompute(block, plan.config.activation_checkpointing))
    compiled = compile_blocks()
    if plan.layout.shard > 1:
        mesh = plan.mesh(device)
        mesh = mesh["replicate", "shard"] if plan.layout.replicate > 1 else mesh["shard"]
        named = blocks(objective)
        for module in components.values():
            _shard(
                module, mesh, [block for block in named if _within(block, module)] or longest_list(module), precision
            )
    for name, module in components.items():
        _fill(module, name, device, seed)
    return compiled, undo


def longest_list(module: nn.Module) -> list[nn.Module]:
    """A model's layers, where nobody names them: its longest module list."""
    lists = [list(found) for found in module.modules() if isinstance(found, nn.ModuleList)]
    return max(lists, key=len, default=[])


def reshard(components: Iterable[nn.Module]) -> None:
    """Let go of gathered weights, so that parameters are the sharded ones (they are between steps anyhow)."""
    for component in components:
        for module in component.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


def separate(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Let no group of parameters mix those that are spread in different ways: fused updates cannot."""
    for optimizer in optimizers:
        groups = []
        for group in optimizer.param_groups:
            alike: dict[Any, list[Tensor]] = {}
            for parameter in group["params"]:
                mesh = parameter.device_mesh if isinstance(parameter, DTensor) else None
                alike.setdefault(mesh, []).append(parameter)
            groups += [{**group, "params": members} for members in alike.values()]
        optimizer.param_groups[:] = groups


def _layers(objective: Objective) -> list[nn.Module]:
    found = blocks(objective) or [block for module in objective.learns.values() for block in longest_list(module)]
    if not found:
        raise ConfigurationError(
            "Parallelism.activation_checkpointing needs blocks: the objective names none and has no ModuleList"
        )
    return found


def _within(block: nn.Module, module: nn.Module) -> bool:
    return any(block is found for found in module.modules())


def _broadcast(modules: Iterable[nn.Module], plan: ParallelPlan) -> None:
    if plan.processes > 1:
        for module in modules:
            for tensor in module.state_dict().values():
                if not tensor.is_meta:
                    dist.broadcast(tensor, src=0)


# -- tensor parallel ---------------------------------------------------------------------------------------------------


def _split(component: nn.Module, mesh: DeviceMesh, name: str) -> None:
    owners: list[Any] = [module for module in component.modules() if hasattr(module, "split_over")]
    if not owners:
        raise ConfigurationError(
            f"Parallelism.tensor is {mesh.size()}, but {name} ({type(component).__name__}) does not say how its "
            "matrices are split (`split_over`); use shard"
        )
    for owner in owners:
        styles = {path: _style(style) for path, style in owner.split_over(mesh.size()).items()}
        parallelize_module(owner, mesh, styles, src_data_rank=None)


def _style(name: str) -> ParallelStyle:
    known: dict[str, Callable[[], ParallelStyle]] = {
        "colwise": ColwiseParallel,
        "rowwise": RowwiseParallel,
        "colwise_norm": _SplitNorm,
    }
    if name not in known:
        raise ConfigurationError(f"a module is to be split {name!r}; known are {', '.join(known)}")
    return known[name]()


class _SplitNorm(ParallelStyle):
    """A norm over features that are split: DTensor's arithmetic takes the mean over all of them."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        for name, parameter in list(module.named_parameters(recurse=False)):
            spread = distribute_tensor(parameter.detach(), device_mesh, [Shard(0)], src_data_rank=None)
            module.register_parameter(name, nn.Parameter(spread, requires_grad=parameter.requires_grad))
        local = Prepare(
            input_layouts=Shard(-1),
            desired_input_layouts=Shard(-1),
            output_layouts=Shard(-1),
            desired_output_layouts=Shard(-1),
        )
        return local._apply(module, device_mesh)


# -- activation checkpointing ------------------------------------------------------------------------------------------


def _recompute(block: nn.Module, how: Literal["selective", "full"]) -> Callable[[], None]:
    """Keep less of a block's forward pass and compute it again in the backward; gives what takes this off."""
    forward = block.forward
    options: dict[str, Any] = {}
    if how == "selective":
        options["context_fn"] = _selective

    def recomputed(*inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs, **named)
        return checkpoint(forward, *inputs, use_reentrant=False, **options, **named)

    block.forward = recomputed
    return lambda: delattr(block, "forward")


def _selective() -> Any:
    """Attention is kept, as it costs most to compute again, and every second matrix product."""
    products = {False: 0, True: 0}

    def policy(context: Any, operation: Any, *_: Any, **__: Any) -> CheckpointPolicy:
        again = bool(context.is_recompute)
        if operation in _PRODUCTS:
            products[again] += 1
        keep = operation in _ATTENTION or (operation in _PRODUCTS and products[again] % 2 == 1)
        return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE

    return create_selective_checkpoint_contexts(policy)  # type: ignore[no-untyped-call]


_PRODUCTS = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default}
_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
}

# -- FSDP --------------------------------------------------------------------------------------------------------------


def _shard(module: nn.Module, mesh: DeviceMesh, layers: list[nn.Module], precision: str) -> None:
    narrow = torch.bfloat16 if precision == "bf16" else None
    for layer in layers:
        _fully_shard(layer, mesh, MixedPrecisionPolicy(narrow, torch.float32, cast_forward_inputs=False))
    # The rest stays gathered between forward and backward: a loss may use the head outside of the model's forward.
    _fully_shard(module, mesh, MixedPrecisionPolicy(None, torch.float32, cast_forward_inputs=False))


def _fully_shard(module: nn.Module, mesh: DeviceMesh, policy: MixedPrecisionPolicy) -> None:
    vectors = {parameter for parameter in module.parameters() if parameter.ndim < 2}
    fully_shard(module, mesh=mesh, mp_policy=policy, ignored_params=vectors)
    assert isinstance(module, FSDPModule)  # noqa: S101 (what fully_shard makes of it)
    module.set_gradient_divide_factor(1.0)
    module.set_force_sum_reduction_for_comms(True)


# -- weights that are not there yet ------------------------------------------------------------------------------------


@torch.no_grad()
def _fill(module: nn.Module, name: str, device: torch.device, seed: int) -> None:
    if not any(tensor.is_meta for tensor in module.state_dict().values()):
        return
    draw: Callable[[str, torch.Size, int], Tensor] | None = getattr(module, "draw", None)
    if draw is None or any(True for _ in module.buffers()):
        raise ConfigurationError(
            f"{name} ({type(module).__name__}) is on the meta device and cannot be filled: it needs "
            "`draw(parameter, shape, seed)` and no buffers; make it with weights"
        )
    module.to_empty(device=device)
    for parameter_name, parameter in module.named_parameters():
        put(parameter, draw(parameter_name, parameter.shape, seed))
