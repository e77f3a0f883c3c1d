"""mee report: result files -> terminal, Markdown, HTML."""
