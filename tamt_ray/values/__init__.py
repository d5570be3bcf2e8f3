"""The words of a sweep file that stand for themselves: sources, tables, models, optimisers."""
