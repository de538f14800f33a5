"""What joins the app to other tools. Nothing imports it but a project that names it."""
