# Completion of runnel(1) for fish. Commands, options and names are asked of the program itself.
function __runnel_commands
    runnel help 2>/dev/null | string replace -rf '^  ([a-z]+) .*' '$1'
end
function __runnel_options
    set -l words (commandline -opc)
    test (count $words) -ge 2; and runnel help $words[2] 2>/dev/null | head -n 1 | string match -ra -- '--[a-z-]+'
end
function __runnel_at
    set -l words (commandline -opc)
    test (count $words) -eq $argv[1]; or return 1
    test (count $argv) -lt 2; or test "$words[2..]" = "$argv[2..]"
end
complete -c runnel -f
complete -c runnel -n '__runnel_at 1' -a '(__runnel_commands) --version --help'
complete -c runnel -n '__runnel_at 2 help' -a '(__runnel_commands)'
complete -c runnel -n '__runnel_at 2 list' -a 'sources collectors encodings sinks sink'
complete -c runnel -n '__runnel_at 3 list sink' -a '(runnel list sinks 2>/dev/null | string replace -rf "^  ([a-z0-9_-]+) .*" "\$1")'
complete -c runnel -n 'not __runnel_at 1' -a '(__runnel_options)'
complete -c runnel -l config -s c -r -F -n 'not __runnel_at 1'
