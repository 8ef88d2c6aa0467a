#!/usr/bin/env escript
%%! -noshell
%% An accounting server of Erlang/OTP's diameter: prints a line for each Accounting-Request that it takes in, and answers
%% 2001. What the grammar of RFC 6733 9.7.1 does not allow its stack answers itself.
%%
%%   otp_accounting.escript PORT
-mode(compile).

%% Of diameter.hrl, which Debian ships in erlang-dev alone.
-record(diameter_packet, {header, avps, msg, bin, errors = [], transport_data}).

-export([peer_up/3, peer_down/3, pick_peer/4, prepare_request/3, prepare_retransmit/3, handle_answer/4,
         handle_error/4, handle_request/3]).

main([Port]) ->
    ok = diameter:start(),
    ok = diameter:start_service(acct, [
        {'Origin-Host', "acct.test.example"},
        {'Origin-Realm', "test.example"},
        {'Vendor-Id', 0},
        {'Product-Name', "OTP"},
        {'Acct-Application-Id', [3]},
        {decode_format, map},
        {string_decode, false},
        {application, [{alias, acct}, {dictionary, diameter_gen_acct_rfc6733}, {module, ?MODULE}]}
    ]),
    {ok, _} = diameter:add_transport(acct, {listen, [
        {transport_module, diameter_tcp},
        {transport_config, [{reuseaddr, true}, {ip, {127, 0, 0, 1}}, {port, list_to_integer(Port)}]},
        {watchdog_timer, 6000}
    ]}),
    io:format("ready~n"),
    receive stop -> ok end.

handle_request(#diameter_packet{msg = ['ACR' | Request], errors = Errors}, _Service, _Peer) ->
    #{'Session-Id' := Session, 'Accounting-Record-Type' := Type, 'Accounting-Record-Number' := Number} = Request,
    Codes = [case Error of {Code, _} -> Code; Code -> Code end || Error <- Errors],
    io:format("ACR ~b ~b ~s ~w~n", [Type, Number, Session, Codes]),
    {reply, ['ACA' | #{
        'Session-Id' => Session,
        'Result-Code' => 2001,
        'Origin-Host' => "acct.test.example",
        'Origin-Realm' => "test.example",
        'Accounting-Record-Type' => Type,
        'Accounting-Record-Number' => Number
    }]}.

peer_up(_, _, State) -> State.
peer_down(_, _, State) -> State.
pick_peer(_, _, _, _) -> false.
prepare_request(_, _, _) -> discard.
prepare_retransmit(_, _, _) -> discard.
handle_answer(_, _, _, _) -> ok.
handle_error(_, _, _, _) -> ok.
