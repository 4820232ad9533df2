"""How fast due mails are looked at, rendered, claimed and handed to an SMTP server, and in how much memory."""
