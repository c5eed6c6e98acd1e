"""What happens when a seed fails: it is told, made smaller, compared with one that passed, and written to files.

Data first: `investigate` gathers all there is to say of a failure in a `Failure`, which `render` puts in words. The
parts stand alone: `shrink`, `first_divergence`, `around`, `commit_line`, `github_error`, `write_junit`.
"""
