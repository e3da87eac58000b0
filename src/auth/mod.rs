//! Who is it: SCRAM, md5, cleartext and user lists as values. No sockets.
