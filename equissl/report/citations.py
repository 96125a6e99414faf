"""The papers behind what a recipe is made of, as BibTeX."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper by its arXiv number."""

    arxiv: str
    short: str
    title: str
    authors: str
    venue: str
    year: int

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"

    def bibtex(self) -> str:
        """An entry whose key is the short name and the year."""
        key = "".join(c for c in self.short.lower() if c.isalnum())
        fields = {
            "title": f"{{{self.title}}}",
            "author": self.authors,
            "booktitle": self.venue,
            "year": str(self.year),
            "eprint": self.arxiv,
            "archivePrefix": "arXiv",
        }
        body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        return f"@inproceedings{{{key}{self.year},\n{body}\n}}"


ICLR = "International Conference on Learning Representations"
ICML = "International Conference on Machine Learning"
NEURIPS = "Advances in Neural Information Processing Systems"
CVPR = "Conference on Computer Vision and Pattern Recognition"

# The last part of a module's address -> what it implements.
PAPERS = {
    "simclr": Paper(
        "2002.05709",
        "SimCLR",
        "A Simple Framework for Contrastive Learning of Visual Representations",
        "Chen, Ting and Kornblith, Simon and Norouzi, Mohammad and Hinton, Geoffrey",
        ICML,
        2020,
    ),
    "byol": Paper(
        "2006.07733",
        "BYOL",
        "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning",
        r"Grill, Jean-Bastien and Strub, Florian and Altch{\'e}, Florent and Tallec, Corentin and others",
        NEURIPS,
        2020,
    ),
    "simsiam": Paper(
        "2011.10566",
        "SimSiam",
        "Exploring Simple Siamese Representation Learning",
        "Chen, Xinlei and He, Kaiming",
        CVPR,
        2021,
    ),
    "moco": Paper(
        "1911.05722",
        "MoCo",
        "Momentum Contrast for Unsupervised Visual Representation Learning",
        "He, Kaiming and Fan, Haoqi and Wu, Yuxin and Xie, Saining and Girshick, Ross",
        CVPR,
        2020,
    ),
    "vicreg": Paper(
        "2105.04906",
        "VICReg",
        "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
        "Bardes, Adrien and Ponce, Jean and LeCun, Yann",
        ICLR,
        2022,
    ),
    "barlow_twins": Paper(
        "2103.03230",
        "Barlow Twins",
        "Barlow Twins: Self-Supervised Learning via Redundancy Reduction",
        r"Zbontar, Jure and Jing, Li and Misra, Ishan and LeCun, Yann and Deny, St{\'e}phane",
        ICML,
        2021,
    ),
    "equimod": Paper(
        "2211.01244",
        "EquiMod",
        "EquiMod: An Equivariance Module to Improve Visual Instance Discrimination",
        "Devillers, Alexandre and Lefort, Mathieu",
        ICLR,
        2023,
    ),
    "augself": Paper(
        "2111.09613",
        "AugSelf",
        "Improving Transferability of Representations via Augmentation-Aware Self-Supervision",
        "Lee, Hankook and Lee, Kibok and Lee, Kimin and Lee, Honglak and Shin, Jinwoo",
        NEURIPS,
        2021,
    ),
    "essl": Paper(
        "2111.00899",
        "E-SSL",
        "Equivariant Self-Supervised Learning: Encouraging Equivariance in Representations",
        "Dangovski, Rumen and Jing, Li and Loh, Charlotte and Han, Seungwook and Srivastava, Akash"
        r" and Cheung, Brian and Agrawal, Pulkit and Solja{\v{c}}i{\'c}, Marin",
        ICLR,
        2022,
    ),
    "sie": Paper(
        "2302.10283",
        "SIE",
        "Self-Supervised Learning of Split Invariant Equivariant Representations",
        "Garrido, Quentin and Najman, Laurent and LeCun, Yann",
        ICML,
        2023,
    ),
}
RANK_ME = Paper(
    "2210.02885",
    "RankMe",
    "RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations"
    " by Their Rank",
    "Garrido, Quentin and Balestriero, Randall and Najman, Laurent and LeCun, Yann",
    ICML,
    2023,
)
SAME = {"predict_change": "augself", "predict_factors": "essl", "bench3die": "sie", "solids": "sie"}


def papers(recipes: Iterable[object], measures: Iterable[str] = ()) -> tuple[Paper, ...]:
    """The papers of every component of some recipes and of the measures taken, oldest first."""
    found = set()
    for recipe in recipes:
        for address in addresses(recipe):
            place = address.partition(":")[0].rpartition(".")[2]
            paper = PAPERS.get(SAME.get(place, place))
            found |= {paper} if paper else set()
    if any(measure.endswith("rank_me") for measure in measures):
        found.add(RANK_ME)
    return tuple(sorted(found, key=lambda paper: (paper.year, paper.arxiv)))


def addresses(plain: object) -> Iterator[str]:
    """Every "module:Class" in nested plain data."""
    if isinstance(plain, dict):
        here = plain.get("is")
        if isinstance(here, str):
            yield here
        for value in plain.values():
            yield from addresses(value)
    elif isinstance(plain, list):
        for value in plain:
            yield from addresses(value)
