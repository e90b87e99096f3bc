#!/bin/sh
# Plays a server in the tests of this directory: it listens at once, notes SIGTERM in its data directory and ends,
# and crashes where a file `crash` lies. A file in the tree and not written by the tests: a file that somebody has open
# for writing, if only a child between fork and exec, cannot be executed.
#
# ON_TERM changes what SIGTERM does: with `late` it listens only then and ends a moment later, with `ignore` it
# goes on.
role=$1; shift
while [ $# -gt 0 ]; do
    case $1 in
        --data) data=$2; shift ;;
        --masters) masters=$2; shift ;;
        --listen) listen=$2; shift ;;
        --id) id=$2; shift ;;
    esac
    shift
done
listening() { echo "listening: $role ${id:-42}, http://$listen, peer"; }
if [ -e "$data/crash" ]; then echo "cannot start: the crash file is there" >&2; exit 7; fi
case $ON_TERM in
    late) trap 'listening; sleep 1; exit 0' TERM ;;
    ignore) trap '' TERM ;;
    *) trap 'touch "$data/terminated"; exit 0' TERM ;;
esac
echo "masters $masters, $EXTRA" >&2
echo $$ > "$data/pid"
[ "$ON_TERM" = late ] || listening
while :; do sleep 0.05; done
