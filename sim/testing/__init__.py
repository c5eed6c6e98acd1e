"""Tests of a user's own, over a simulated mesh in virtual time: `@sim_test`, and what it hands out.

The public names are those of `import sim`. Nothing is imported here: pytest loads the plugin in every folder where the
package is installed, simulated tests or not.
"""
