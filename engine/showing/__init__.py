"""Records into what surfaces show: pure, one module a subject. `engine/operations` reads what goes in; what comes out is in `engine/views/`."""
