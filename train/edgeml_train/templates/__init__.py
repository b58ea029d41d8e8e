"""Templates: the beginnings of projects."""

from edgeml_train.templates.init import TEMPLATES, Template, init_project

__all__ = ["TEMPLATES", "Template", "init_project"]
