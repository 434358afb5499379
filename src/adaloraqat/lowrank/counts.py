"""How many parameters stage 1 and stage 2 train, counted from the modules themselves."""

from dataclasses import dataclass

from torch import nn

from adaloraqat.lowrank.adapters import adapters_of


@dataclass(frozen=True)
class TrainableCount:
    """Parameter counts of an adapted SAM; see docs/lowrank.md for how the published numbers arise.

    Attributes:
        matrices: adapted matrices (three a block).
        components: unmasked components over all matrices; the paper's stage 2 trains one λ each.
        adapter_parameters: entries of P, Λ and Q of the unmasked components.
        decoder_parameters: parameters of the mask decoder, trained whole in stage 1; 0 where it is not.
        base_parameters: all parameters of the model without adapters.
    """

    matrices: int
    components: int
    adapter_parameters: int
    decoder_parameters: int
    base_parameters: int

    @property
    def stage_1(self) -> int:
        """Parameters that stage 1 trains: adapters and mask decoder."""
        return self.adapter_parameters + self.decoder_parameters

    @property
    def stage_2(self) -> int:
        """Parameters that the paper's stage 2 trains: the singular values."""
        return self.components

    @property
    def trainable_share(self) -> float:
        """Stage-1 parameters as a share of all, base and adapters together."""
        return self.stage_1 / (self.base_parameters + self.adapter_parameters)

    @property
    def reduction(self) -> float:
        """How many times fewer than full fine-tuning of the base."""
        return self.base_parameters / self.stage_1


def count_trainable(model: nn.Module, train_decoder: bool = True) -> TrainableCount:
    """Count an adapted `SamModel`; on the meta device too, where no component counts as masked."""
    decoder = model.get_submodule("mask_decoder").parameters() if train_decoder else ()
    adapters = adapters_of(model).values()
    stored = sum(parameter.numel() for adapter in adapters for parameter in adapter.parameters())
    per_component = [adapter.P.shape[0] + 1 + adapter.Q.shape[1] for adapter in adapters]
    ranks = [adapter.rank for adapter in adapters]
    return TrainableCount(
        matrices=len(ranks),
        components=sum(ranks),
        adapter_parameters=sum(rank * size for rank, size in zip(ranks, per_component, strict=True)),
        decoder_parameters=sum(parameter.numel() for parameter in decoder),
        base_parameters=sum(parameter.numel() for parameter in model.parameters()) - stored,
    )
