"""Programming languages by the ending of a file's name (the common ones of the-stack's list, arXiv 2211.15533)."""

from __future__ import annotations

_LANGUAGES: dict[str, str] = {
    "Ada": ".adb .ads", "Assembly": ".asm .s", "Awk": ".awk", "Batchfile": ".bat .cmd", "C": ".c .h",
    "C#": ".cs", "C++": ".cc .cpp .cxx .c++ .hpp .hh .hxx .cuh", "CMake": ".cmake cmakelists.txt", "CSS": ".css",
    "CUDA": ".cu", "Clojure": ".clj .cljs .cljc", "CoffeeScript": ".coffee", "Common Lisp": ".lisp .lsp",
    "Cython": ".pyx .pxd", "Dart": ".dart", "Dockerfile": "dockerfile .dockerfile", "Elixir": ".ex .exs", "Elm": ".elm",
    "Emacs Lisp": ".el", "Erlang": ".erl .hrl", "F#": ".fs .fsx", "Fortran": ".f .for .f90 .f95 .f03", "GLSL": ".glsl",
    "Go": ".go", "Groovy": ".groovy .gradle", "HTML": ".html .htm", "Haskell": ".hs .lhs", "Idris": ".idr",
    "Isabelle": ".thy", "Java": ".java", "JavaScript": ".js .mjs .cjs .jsx", "Julia": ".jl", "Kotlin": ".kt .kts",
    "Lean": ".lean", "Lua": ".lua", "Makefile": "makefile gnumakefile .mk", "Markdown": ".md .markdown",
    "MATLAB": ".m", "Nim": ".nim", "Nix": ".nix", "OCaml": ".ml .mli", "Objective-C": ".mm", "PHP": ".php",
    "Pascal": ".pas .pp", "Perl": ".pl .pm .pod", "PowerShell": ".ps1 .psm1", "Prolog": ".pro",
    "Protocol Buffer": ".proto", "Python": ".py .pyi", "R": ".r", "Racket": ".rkt", "RestructuredText": ".rst",
    "Ruby": ".rb rakefile gemfile", "Rust": ".rs", "SQL": ".sql", "Scala": ".scala .sbt", "Scheme": ".scm .ss",
    "Shell": ".sh .bash .zsh", "Solidity": ".sol", "Standard ML": ".sml", "Swift": ".swift", "SystemVerilog": ".sv",
    "TOML": ".toml", "Tcl": ".tcl", "TeX": ".tex", "TypeScript": ".ts .tsx .mts .cts", "VHDL": ".vhd .vhdl",
    "Verilog": ".v", "Vim Script": ".vim", "Vue": ".vue", "YAML": ".yaml .yml", "Zig": ".zig",
}  # fmt: skip
_BY_ENDING = {ending: language for language, endings in _LANGUAGES.items() for ending in endings.split()}


def language_of(name: str) -> str | None:
    """The language of a file by its name; `None` when it is no known one."""
    base = name.rsplit("/", 1)[-1].lower()
    stem, dot, ending = base.rpartition(".")
    return _BY_ENDING.get(base) or (_BY_ENDING.get(f".{ending}") if dot and stem else None)
