"""An estate as the checks see it: more than the port shows, but no way to load anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lastgood.domain.unit import UnitId
from lastgood.estate import loader, model
from lastgood.estate.layers import Layer
from lastgood.estate.render import Context
from lastgood.estate.tree import Tree
from lastgood.estate.units import ServiceUnits, Shared
from lastgood.ports.rewinding import OwnState


class OpenEstate(Protocol):
    @property
    def tree(self) -> Tree: ...

    @property
    def parser(self) -> loader.Parser: ...

    @property
    def declared(self) -> model.EstateDeclared: ...

    @property
    def shared(self) -> Shared: ...

    @property
    def own(self) -> OwnState | None:
        """None where nobody said where lastgood keeps what it knows."""

    def service_names(self) -> Sequence[str]: ...

    def units_of(self, service: model.ServiceDeclared) -> list[UnitId]: ...

    def layers(self, unit: UnitId) -> list[Layer]:
        """Raises Invalid when one can't be read."""

    def context(self, service: ServiceUnits, unit: UnitId) -> Context:
        """Raises Invalid when a layer can't be read."""
