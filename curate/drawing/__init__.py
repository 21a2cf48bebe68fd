"""What the pages of a build, a run and a study share: the shell of a page, plots as SVG, small pictures."""
