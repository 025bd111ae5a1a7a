"""What the site shows that is no page in docs/: README.md and others, the notebooks; and how docstrings are read."""

import base64
import json
import re
from pathlib import Path

from griffe import Extension, Function
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
BORROWED = {"README.md": "index.md", "CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md"}


def on_files(files, config):
    """mkdocs asks: which files are there beside those of docs/?"""
    for path, page in BORROWED.items():
        text = (ROOT / path).read_text("utf-8").replace("](docs/", "](").replace('src="docs/', 'src="')
        for borrowed, place in BORROWED.items():
            text = text.replace(f"]({borrowed}", f"]({place}")
        files.append(File.generated(config, page, content=text))
    for notebook in ROOT.glob("docs/*.ipynb"):
        files.remove(files.get_file_from_path(notebook.name))
        text, pictures = of_notebook(json.loads(notebook.read_text("utf-8")), notebook.stem)
        files.append(File.generated(config, f"{notebook.stem}.md", content=text))
        for name, picture in pictures.items():
            files.append(File.generated(config, name, content=picture))
    return files


def on_page_markdown(markdown, **_):
    """Notebooks are pages, and a dotted name leads to the reference where that has it."""
    markdown = re.sub(r"\]\((\w+)\.ipynb", r"](\1.md", markdown)
    return re.sub(r"`(harmonia\.[\w.]+)`", r'<autoref optional identifier="\1"><code>\1</code></autoref>', markdown)


def on_post_build(config):
    """Beside the version that make docs has built: the list of all, for the selector, and the way to the newest."""
    site = Path(config.site_dir).parent
    if site != ROOT / "build" / "site":
        return
    versions = [page.parent.name for page in site.glob("*/index.html") if page.parent.name[0].isdigit()]
    versions.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)], reverse=True)
    lines = [{"version": version, "title": version, "aliases": []} for version in versions]
    (site / "versions.json").write_text(json.dumps(lines), "utf-8")
    newest = f'<meta http-equiv="refresh" content="0; url={versions[0]}/index.html">'
    (site / "index.html").write_text(f"<!doctype html><title>harmonia</title>{newest}", "utf-8")


def of_notebook(notebook, name):
    """The notebook as a page, and its pictures by the names of their files."""
    text, pictures = [], {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        text.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                picture = f"{name}_{len(pictures)}.png"
                pictures[picture] = base64.b64decode(data["image/png"])
                text.append(f"![{''.join(data['text/plain'])}]({picture})".replace("<", "").replace(">", ""))
            elif "text/html" in data:
                html = re.sub(r"<style.*?</style>\s*|\n\s*", "", "".join(data["text/html"]), flags=re.DOTALL)
                text.append(re.sub(r"<table[^>]*>", "<table>", html))  # as the site's own tables
            else:
                text.append(f"```text\n{''.join(data['text/plain'])}\n```")
    return "\n\n".join(text) + "\n", pictures


class Docstrings(Extension):
    """Docstrings as pages show them: parameters as a list, examples as code."""

    def on_object(self, *, obj, **_):
        if obj.docstring is None:
            return
        text = re.sub(r"^>>> .*(?:\n.+)*", r"```pycon\n\g<0>\n```", obj.docstring.value, flags=re.MULTILINE)
        if isinstance(obj, Function):
            names = "|".join(re.escape(parameter.name) for parameter in obj.parameters)
            text = re.sub(rf"(?:^|(?<=\.) )((?:{names})(?:, \w+)*): ", r"\n- `\1`: ", text, flags=re.MULTILINE)
        obj.docstring.value = text
