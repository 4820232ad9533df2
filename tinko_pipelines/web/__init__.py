"""What is asked of us over HTTP. A part of it is a module with `routes(app)`; `server` puts them together."""
