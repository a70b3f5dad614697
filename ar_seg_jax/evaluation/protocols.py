"""What a score means: how clusters get their classes, and from which images."""

import dataclasses

import numpy as np
from jaxtyping import Int

from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import matching

MATCHINGS = {'one-to-one': matching.one_to_one, 'many-to-one': matching.many_to_one}
_HOW = 'unmasked network, pixels without a label left out'


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The map from clusters to classes is fitted on one split and scored on a split.

    matching: 'one-to-one' (Hungarian) or 'many-to-one' (each cluster to its commonest class).
    """

    matching: str
    matched_on: str
    scored_on: str

    def __post_init__(self):
        if self.matching not in MATCHINGS:
            raise UserError(f'matching is one of {", ".join(MATCHINGS)}; found {self.matching!r}')

    def __str__(self) -> str:
        same = ' (the same images: no held-out score)' if self.matched_on == self.scored_on else ''
        return f'{self.matching} matching fitted on {self.matched_on!r}, scored on {self.scored_on!r}{same}; {_HOW}'

    @classmethod
    def parse(cls, text: str, split: str) -> 'Protocol':
        """From '<matching>:<matched on>:<scored on>', such as 'many-to-one:train:val'; `split` stands for what is left out at
        the end, so that 'one-to-one' is matched and scored on it."""
        matching, *splits = text.split(':')
        if len(splits) > 2 or not all(splits):
            raise UserError(
                "a protocol is '<matching>', '<matching>:<matched on>' or '<matching>:<matched on>:<scored on>', such as "
                f"'many-to-one:train:val'; found {text!r}"
            )
        return cls(matching, *[*splits, split, split][:2])

    @property
    def short(self) -> str:
        """As `parse` reads it."""
        return f'{self.matching}:{self.matched_on}:{self.scored_on}'

    def fit(self, confusion: Int[np.ndarray, 'clusters classes']) -> Int[np.ndarray, 'clusters']:
        """The class of each cluster from the confusion matrix of the split `matched_on`."""
        return MATCHINGS[self.matching](confusion)


@dataclasses.dataclass(frozen=True)
class Names:
    """A person says which class each cluster is; that is scored on a split."""

    scored_on: str

    def __str__(self) -> str:
        return f'clusters named by a person, scored on {self.scored_on!r}; {_HOW}'

    @property
    def short(self) -> str:
        return f'names:{self.scored_on}'
