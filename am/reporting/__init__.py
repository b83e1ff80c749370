"""The report of a recipe's work directory: findings, tables and pictures, then one page of HTML and its Markdown twin.

findings, quality, examples, provenance: what there is to say.  tables, canvas, pictures: how it is shown.  headlines,
recognition, error_kinds, speech_quality, gate, making: the chapters.  page (with notes) and markdown: the two files.
"""
