# SPDX-License-Identifier: Apache-2.0
"""Appearance of a person: body, clothes, hair, carried things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .seeds import PERSON, generator

Colour = tuple[float, float, float]

# Red, green, blue and how often people wear it.
CLOTHES = (
    ((26, 26, 30), 9),  # black
    ((90, 92, 96), 6),  # grey
    ((168, 170, 172), 5),  # light grey
    ((232, 230, 224), 7),  # white
    ((34, 42, 84), 7),  # navy
    ((46, 92, 176), 7),  # blue
    ((120, 176, 222), 5),  # sky
    ((184, 34, 40), 7),  # red
    ((118, 26, 50), 4),  # burgundy
    ((226, 116, 40), 4),  # orange
    ((236, 200, 62), 4),  # yellow
    ((42, 120, 66), 5),  # green
    ((92, 98, 52), 4),  # olive
    ((38, 150, 150), 3),  # teal
    ((112, 62, 150), 3),  # purple
    ((232, 140, 172), 4),  # pink
    ((196, 168, 126), 5),  # beige
    ((104, 68, 44), 4),  # brown
)
SKIN = ((244, 208, 182), (226, 178, 142), (190, 134, 98), (140, 92, 62), (88, 56, 40))
HAIR = ((24, 20, 18), (58, 38, 26), (110, 72, 40), (196, 160, 96), (150, 146, 142))
PATTERNS = (
    ('plain', 9), ('stripes', 6), ('pinstripes', 3), ('checks', 4), ('plaid', 4),
    ('dots', 4), ('gradient', 3), ('yoke', 5), ('halves', 3), ('band', 5),
    ('diagonal', 3), ('patches', 4),
)  # fmt: skip
BAGS = (('none', 8), ('backpack', 5), ('shoulder', 4), ('hand', 3), ('trolley', 1))
HAIR_STYLES = (('short', 9), ('bob', 4), ('long', 5), ('tail', 3), ('bald', 1))
HATS = (('none', 15), ('cap', 3), ('beanie', 2), ('hood', 2))
LEG_PATTERNS = (('plain', 12), ('stripes', 1), ('checks', 2), ('patches', 1))


@dataclass(frozen=True)
class Wardrobe:
    """What people of a world wear, with how often; see :data:`WARDROBES`."""

    clothes: tuple = CLOTHES
    patterns: tuple = PATTERNS
    bags: tuple = BAGS
    hats: tuple = HATS
    bottoms: tuple = (('trousers', 10), ('shorts', 4), ('skirt', 4))
    coat: float = 0.2  #: Share of people in a long garment
    scarf: float = 0.12  #: Share with a scarf


def _darker(rgb: tuple[int, int, int]) -> int:
    """How often winter clothes have a colour."""
    return 12 if max(rgb) < 100 else 5 if max(rgb) < 180 else 2


#: World of the synthetic set: its clothes. The second has dark ones, coats, hats.
WARDROBES = {
    'first': Wardrobe(),
    'second': Wardrobe(
        clothes=tuple((rgb, _darker(rgb)) for rgb, _ in CLOTHES),
        patterns=tuple((name, 20 if name == 'plain' else 2) for name, _ in PATTERNS),
        bags=(
            ('none', 5),
            ('backpack', 6),
            ('shoulder', 5),
            ('hand', 3),
            ('trolley', 2),
        ),
        hats=(('none', 8), ('cap', 1), ('beanie', 6), ('hood', 5)),
        bottoms=(('trousers', 14), ('shorts', 1), ('skirt', 3)),
        coat=0.5,
        scarf=0.35,
    ),
}


@dataclass(frozen=True)
class Cloth:
    """A fabric: two colours (blue, green, red; 0..255) and a pattern."""

    colour: Colour  #: Main colour
    second: Colour  #: Colour of the pattern
    pattern: str = 'plain'  #: One of :data:`PATTERNS`
    scale: float = 1.0  #: Size of the pattern; 1 is usual


@dataclass(frozen=True)
class Person:
    """Everything that stays with a person from camera to camera.

    Lengths are fractions of the body's height, colours blue, green, red.
    """

    key: int  #: Seeds what is irregular about the clothes
    girth: float  #: Width relative to the usual one
    shoulders: float  #: Shoulder width relative to the usual one
    legs: float  #: Length of the legs relative to the usual one
    skin: Colour
    hair: Colour
    hair_style: str  #: 'short', 'bob', 'long', 'tail' or 'bald'
    hat: str  #: 'none', 'cap', 'beanie' or 'hood'
    hat_colour: Colour
    top: Cloth  #: Upper garment
    sleeve: float  #: Share of the arm under cloth, 0..1
    sleeve_cloth: Cloth  #: What the sleeves are made of
    hem: float  #: Height of the upper garment's lower end
    open_front: Colour | None  #: Shirt seen in an open jacket
    logo: str  #: 'none', 'disc', 'square' or 'bars' on the chest
    back_print: bool  #: A print on the back
    print_colour: Colour  #: Colour of logo and print
    bottom: str  #: 'trousers', 'shorts' or 'skirt'
    bottom_cloth: Cloth  #: Lower garment
    skirt_hem: float  #: Height of the skirt's lower end
    side_stripe: Colour | None  #: Stripe along the trousers
    shoes: Colour
    bag: str  #: 'none', 'backpack', 'shoulder', 'hand' or 'trolley'
    bag_colour: Colour
    bag_side: int  #: +1 for the person's left, -1 for the right
    scarf: Colour | None
    stride: float  #: Swing of the legs while walking, radians


def _pick(rng: np.random.Generator, choices: tuple) -> Any:
    weights = np.array([weight for _, weight in choices], float)
    return choices[rng.choice(len(choices), p=weights / weights.sum())][0]


def _bgr(rng: np.random.Generator, rgb: tuple, spread: float) -> Colour:
    colour = np.array(rgb[::-1], float) * np.exp(rng.normal(0, spread))
    colour += rng.normal(0, 40 * spread, 3)
    blue, green, red = np.clip(colour, 8, 248).tolist()
    return blue, green, red


def _clothes(
    rng: np.random.Generator, worn: tuple, apart: Colour | None = None
) -> Colour:
    """A colour of clothes, far enough from ``apart`` to be told from it."""
    for _ in range(20):
        colour = _bgr(rng, _pick(rng, worn), 0.12)
        if apart is None or np.abs(np.subtract(colour, apart)).sum() > 150:
            break
    return colour


def _cloth(rng: np.random.Generator, worn: tuple, patterns: tuple) -> Cloth:
    colour = _clothes(rng, worn)
    second = _clothes(rng, worn, apart=colour)
    return Cloth(colour, second, _pick(rng, patterns), float(rng.uniform(0.8, 1.3)))


def sample_person(seed: int, key: int, world: str = 'first') -> Person:
    """Dress person number ``key`` of a data set with this seed."""
    wardrobe = WARDROBES[world]
    worn = wardrobe.clothes
    rng = generator(seed, PERSON, key)
    top = _cloth(rng, worn, wardrobe.patterns)
    plain_sleeve = rng.random() < 0.35 or top.pattern in ('yoke', 'halves', 'band')
    sleeve_colour = top.second if rng.random() < 0.4 else top.colour
    sleeve_cloth = Cloth(sleeve_colour, sleeve_colour) if plain_sleeve else top
    bottom_cloth = _cloth(rng, worn, LEG_PATTERNS)
    bottom = _pick(rng, wardrobe.bottoms)
    if bottom == 'skirt' and rng.random() < 0.4:
        bottom_cloth = top  # a dress
    coat = rng.random() < wardrobe.coat
    return Person(
        key=key,
        girth=float(np.clip(rng.normal(1.0, 0.16), 0.72, 1.45)),
        shoulders=float(np.clip(rng.normal(1.0, 0.09), 0.8, 1.2)),
        legs=float(rng.uniform(0.94, 1.06)),
        skin=_bgr(rng, SKIN[rng.integers(len(SKIN))], 0.05),
        hair=_bgr(rng, HAIR[rng.integers(len(HAIR))], 0.1),
        hair_style=_pick(rng, HAIR_STYLES),
        hat=_pick(rng, wardrobe.hats),
        hat_colour=_clothes(rng, worn),
        top=top,
        sleeve=float(rng.choice([0.0, 0.42, 1.0], p=[0.1, 0.35, 0.55])),
        sleeve_cloth=sleeve_cloth,
        hem=float(rng.uniform(0.3, 0.38) if coat else rng.uniform(0.46, 0.5)),
        open_front=_clothes(rng, worn, apart=top.colour)
        if rng.random() < 0.22
        else None,
        logo=_pick(rng, (('none', 8), ('disc', 2), ('square', 2), ('bars', 2))),
        back_print=bool(rng.random() < 0.15),
        print_colour=_clothes(rng, worn, apart=top.colour),
        bottom=bottom,
        bottom_cloth=bottom_cloth,
        skirt_hem=float(rng.uniform(0.2, 0.34)),
        side_stripe=top.second if rng.random() < 0.12 else None,
        shoes=_clothes(rng, worn),
        bag=_pick(rng, wardrobe.bags),
        bag_colour=_clothes(rng, worn, apart=top.colour),
        bag_side=int(rng.choice([-1, 1])),
        scarf=_clothes(rng, worn, apart=top.colour)
        if rng.random() < wardrobe.scarf
        else None,
        stride=float(rng.uniform(0.35, 0.6)),
    )
