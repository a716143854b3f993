"""How people prove who they are: sign-in, second factor, confirming again before what weighs most; and roles that clash."""
