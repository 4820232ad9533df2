"""Which transport the settings name."""

from tinko_pipelines.errors import SettingsError
from tinko_pipelines.outreach.postmark import PostmarkTransport
from tinko_pipelines.outreach.smtp import SmtpTransport
from tinko_pipelines.outreach.transport import FileTransport, Transport
from tinko_pipelines.settings import Settings


def transport_for(settings: Settings) -> Transport:
    """The transport the settings name; raises SettingsError when its address or its key is missing."""
    if settings.mail_transport == "file":
        return FileTransport(settings.outbox_dir)
    if settings.mail_transport == "postmark":
        if settings.postmark_token is None:
            raise SettingsError("TINKO_MAIL_TRANSPORT=postmark needs TINKO_POSTMARK_TOKEN")
        return PostmarkTransport(settings.postmark_token.get_secret_value(), settings.postmark_api_base)
    if settings.smtp_url is None:
        raise SettingsError("TINKO_MAIL_TRANSPORT=smtp needs TINKO_SMTP_URL")
    return SmtpTransport(settings.smtp_url.get_secret_value())
