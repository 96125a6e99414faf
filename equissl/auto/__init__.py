"""The recipe chosen for a folder of images, and the checks behind keep= and ignore=.

``from equissl.auto import recipe_for`` and the other functions below import their file when first used.
"""

from equissl.config.public import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "choose_recipe": "default",
        "default_recipe": "default",
        "recipe_for": "requirements",
        "resolve": "requirements",
        "build_recipe": "requirements",
        "feasibility_warnings": "feasibility",
        "select_recipe": "selection",
        "with_settings": "selection",
    },
)
