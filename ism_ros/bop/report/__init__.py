"""Report of an evaluation: numbers, worst cases, pictures, and the HTML page that shows them."""
