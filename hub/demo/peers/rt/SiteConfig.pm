# Request Tracker for one machine: SQLite, loopback, no mail. Read by RT as its RT_SiteConfig.pm; `request_tracker.py`
# gives the values that differ from run to run in the environment.
use utf8;
Set($rtname, 'support.example');
Set($Organization, 'support.example');
Set($WebDomain, '127.0.0.1');
Set($WebPort, $ENV{TIEOUT_RT_PORT});
Set($WebPath, '');
Set($WebSecureCookies, 0);
Set($CanonicalizeRedirectURLs, 1);
Set($Timezone, 'UTC');
Set($CorrespondAddress, 'support@support.example');
Set($CommentAddress, 'support-comment@support.example');

Set($DatabaseType, 'SQLite');
Set($DatabaseName, "$ENV{TIEOUT_RT_HOME}/rt.sqlite");
Set($DatabaseUser, '');
Set($DatabasePassword, '');

Set($MasonDataDir, "$ENV{TIEOUT_RT_HOME}/var/mason_data");
Set($MasonSessionDir, "$ENV{TIEOUT_RT_HOME}/var/session_data");
Set($MasonLocalComponentRoot, "$ENV{TIEOUT_RT_HOME}/var/html");

# Mail is written to files instead of being sent.
Set($MailCommand, 'testfile');
Set($LogToSyslog, undef);
Set($LogToFile, undef);
Set($LogToSTDERR, 'warning');

# Every request with a token costs one bcrypt: the default cost of 12 allows three or four requests a second.
Set($BcryptCost, 4);

Set($TieoutWebhookURL, $ENV{TIEOUT_RT_WEBHOOK_URL});
Set($TieoutWebhookSecret, $ENV{TIEOUT_RT_WEBHOOK_SECRET});
1;
