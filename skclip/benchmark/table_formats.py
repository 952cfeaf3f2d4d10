"""A table of text as reStructuredText, CSV, LaTeX and HTML."""

import csv
import html
import io
from dataclasses import dataclass, field

__all__ = ["CROSS", "FORMATS", "Table"]

# Not reliable. Unlike a missing entry, which is empty.
CROSS = "✗"


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; `best` are (row, column) positions to print bold."""

    name: str
    title: str
    header: tuple[str, ...]
    rows: list[list[str]]
    note: str = ""
    best: frozenset[tuple[int, int]] = field(default_factory=frozenset)

    def marked(self, template):
        """Rows with the best entries put into `template`."""
        return [
            [template.format(e) if (i, j) in self.best and e else e for j, e in enumerate(row)]
            for i, row in enumerate(self.rows)
        ]


def to_rst(table):
    lines = [f".. list-table:: {table.title}", "   :header-rows: 1", "   :widths: auto", ""]
    for row in [list(table.header), *table.marked("**{}**")]:
        marks = ["   * - ", *["     - "] * (len(row) - 1)]
        lines += [f"{mark}{entry}".rstrip() for mark, entry in zip(marks, row, strict=True)]
    return "\n".join([*lines, "", *([table.note, ""] if table.note else [])])


def to_csv(table):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([table.header, *table.rows])
    return file.getvalue()


def to_latex(table):
    """For ``\\usepackage{booktabs, amssymb}``."""
    columns = "l" * _text_columns(table) + "r" * (len(table.header) - _text_columns(table))
    lines = [
        " & ".join(
            rf"\textbf{{{_tex(e)}}}" if (i, j) in table.best and e else _tex(e)
            for j, e in enumerate(row)
        )
        + r" \\"
        for i, row in enumerate(table.rows)
    ]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_tex(table.title)}}}",
            rf"\label{{tab:{table.name}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(_tex, table.header)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            *([_tex(table.note)] if table.note else []),
            r"\end{table}",
            "",
        ]
    )


def to_html(table):
    first = _text_columns(table)

    def line(row, tag, numbers):
        cells = "".join(
            f"<{tag}{' class=n' if j >= numbers else ''}>{entry}</{tag}>"
            for j, entry in enumerate(row)
        )
        return f"<tr>{cells}</tr>"

    head = line(map(html.escape, table.header), "th", first)
    escaped = Table(
        table.name,
        table.title,
        table.header,
        [[html.escape(entry) for entry in row] for row in table.rows],
        best=table.best,
    )
    body = "\n".join(line(row, "td", first) for row in escaped.marked("<b>{}</b>"))
    note = f"<p class=note>{html.escape(table.note)}</p>" if table.note else ""
    return (
        f'<div class="wide"><table id="{html.escape(table.name)}">'
        f"<caption>{html.escape(table.title)}</caption>\n<thead>{head}</thead>\n"
        f"<tbody>{body}</tbody></table></div>{note}\n"
    )


# suffix -> writer
FORMATS = {"rst": to_rst, "csv": to_csv, "latex": to_latex}

_TEX = {c: f"\\{c}" for c in "&%_#${}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    "±": r"$\pm$",
    "×": r"$\times$",
    CROSS: r"$\times$",
}


def _tex(text):
    return "".join(_TEX.get(character, character) for character in text)


def _text_columns(table):
    """Leading columns that hold names rather than numbers."""
    for j in range(len(table.header)):
        if all(_is_number(row[j]) for row in table.rows):
            return j
    return len(table.header)


def _is_number(entry):
    return not entry or entry == CROSS or entry[0].isdigit() or entry[0] in "-+<"
