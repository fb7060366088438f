"""Where documents come from: files of every common form, web archives, trees of files, this machine."""
