"""Tables, as HTML, CSV and LaTeX."""
