"""Tables as files."""

import re

from skclip.benchmark.tables import CROSS
from skclip.utils.csv_cells import safe_cell

__all__ = ["FORMATS", "list_table", "to_csv", "to_latex", "to_rst"]


def list_table(title, header, rows):
    """A list-table of reStructuredText; entries become text."""
    lines = [f".. list-table:: {title}", "   :header-rows: 1", "   :widths: auto", ""]
    for row in [header, *rows]:
        marks = ["   * - ", *["     - "] * (len(row) - 1)]
        lines += [f"{mark}{entry}".rstrip() for mark, entry in zip(marks, row, strict=True)]
    return "\n".join([*lines, ""])


def to_rst(table):
    entries = table.frame.map(_rst)
    entries = entries.where(~table.bold, "**" + entries + "**")
    text = list_table(_rst(table.title), list(map(_rst, entries.columns)), entries.to_numpy())
    return text + (f"\n{table.note}\n" if table.note else "")


def to_csv(table):
    return (
        table.frame.map(safe_cell)
        .rename(columns=safe_cell)
        .to_csv(index=False, lineterminator="\n")
    )


def to_latex(table):
    """For ``\\usepackage{booktabs, amssymb}``."""
    # Not by a Styler, which loads pyplot in pandas 2.
    entries = table.frame.map(_latex)
    entries = entries.where(~table.bold, r"\textbf{" + entries + "}")
    columns = "l" * table.n_names + "r" * (entries.shape[1] - table.n_names)
    header, *rows = [
        " & ".join(row) + r" \\" for row in [map(_latex, entries), *entries.to_numpy()]
    ]
    lines = [
        r"\begin{table}",
        rf"\caption{{{_latex(table.title)}}}",
        rf"\label{{tab:{table.name}}}",
    ]
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", header, r"\midrule", *rows]
    lines += [r"\bottomrule", r"\end{tabular}", *filter(None, [_latex(table.note)])]
    return "\n".join([*lines, r"\end{table}", ""])


# format -> (suffix of its files, writer)
FORMATS = {"rst": ("rst", to_rst), "csv": ("csv", to_csv), "latex": ("tex", to_latex)}


def _rst(text):
    r"""What would be markup, escaped: ``\*``, an underscore that ends a word, a directive."""
    text = re.sub(r"([\\*`|]|_(?!\w))", r"\\\1", text)
    return re.sub(r"^(?=[.:>+=~-](?!\d))", r"\\", text)


_TEX = str.maketrans(
    {c: f"\\{c}" for c in "&%_#${}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        "±": r"$\pm$",
        "×": r"$\times$",
        CROSS: r"$\times$",
    }
)


def _latex(text):
    return text.translate(_TEX)
