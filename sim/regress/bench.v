// Top of the random regression: the unit, its streams' ends and a script, as in long_run.v; streams that
// can be held up at a chosen beat; and an observer that tells in which phase the unit met what.

// A stream that goes no further than `to` beats, and stops once at beat `stop[63:32]` for `stop[31:0]`
// cycles. `beats` are those offered so far.
module hold (
    input  wire        aclk,
    input  wire        play,
    input  wire [31:0] beats,
    input  wire [31:0] to,
    input  wire [63:0] stop,
    output wire        pause
);
    reg [31:0] left;
    wire stopped = left != 0 & beats >= stop[63:32];
    assign pause = beats >= to | stopped;
    initial left = 0;
    always @(posedge aclk)
        if (~play) left <= stop[31:0];
        else if (stopped) left <= left - 1;
endmodule

// Phases of the unit, exactly one in every cycle, seen from its ports and the cause that its counters get:
//
//   computing  the array takes a column, or did in the last RECENT cycles
//   draining   it takes none; results of what it took are still to come, or a packet of them is open
//   loading    none of both; input beats of a job were taken
//   idle       none of that
//
// What happens goes to a file: `error`, the first since reset or clear, with its source and code; `clear`
// and `reset`; all with the phase and what was loaded of each input: beats, packets. When a play ends,
// `stalls`: cycles in which the ends alone held up weights, acts, results, in each of the four phases.
// For results, loading means: held up while an input beat was taken and the array stood; idle: shut when
// a job was there and nothing of it.
module observer #(
    parameter FILE = "events.log"
) (
    input  wire        aclk,
    input  wire        aresetn,
    input  wire [31:0] case_,
    input  wire        play,
    output wire [7:0]  phase,
    input  wire        busy,                 // of the unit's counters
    input  wire [2:0]  cause,
    input  wire        run,                  // of the part that stops on errors
    input  wire        drop,
    input  wire        clear,
    input  wire [7:0]  job_error,
    input  wire [7:0]  weights_error,
    input  wire [7:0]  acts_error,
    input  wire        weights_tvalid,
    input  wire        weights_tready,
    input  wire        weights_tlast,
    input  wire        acts_tvalid,
    input  wire        acts_tready,
    input  wire        acts_tlast,
    input  wire        results_tvalid,
    input  wire        results_tready,
    input  wire        results_tlast
);
    localparam ACTIVE = 0, RECENT = 8;
    localparam IDLE = 0, LOADING = 1, COMPUTING = 2, DRAINING = 3;
    reg [3:0] recent;                        // cycles since a column, RECENT at most
    reg open, begun, errored, reset_q, play_q;
    reg [31:0] weight_beats, act_beats, weight_packets, act_packets;
    reg [31:0] stalls [0:11];
    wire active = busy & cause == ACTIVE;
    wire weight_beat = weights_tvalid & weights_tready;
    wire act_beat = acts_tvalid & acts_tready;
    wire result_beat = results_tvalid & results_tready;
    wire computing = active | recent != RECENT;
    wire draining = ~computing & (begun | results_tvalid | open);
    wire loading = ~computing & ~draining & (weight_beats != 0 | act_beats != 0);
    wire idle = ~computing & ~draining & ~loading;
    wire [1:0] now = computing ? COMPUTING : draining ? DRAINING : loading ? LOADING : IDLE;
    assign phase = {4'b0, draining, computing, loading, idle};
    integer file, at;
    initial begin
        file = $fopen(FILE, "w");
        recent = RECENT; reset_q = 1;
        {open, begun, errored, play_q, weight_beats, act_beats, weight_packets, act_packets} = 0;
        for (at = 0; at < 12; at = at + 1) stalls[at] = 0;
    end
    always @(posedge aclk) begin
        reset_q <= ~aresetn;
        recent <= active ? 0 : recent + (recent != RECENT);
        if (active) begun <= 1;
        else if (result_beat & results_tlast) begun <= 0;
        if (result_beat) open <= ~results_tlast;
        if (weight_beat) weight_beats <= weight_beats + 1;
        if (act_beat) act_beats <= act_beats + 1;
        if (weight_beat & weights_tlast) weight_packets <= weight_packets + 1;
        if (act_beat & acts_tlast) act_packets <= act_packets + 1;
        if (~busy) {begun, weight_beats, act_beats, weight_packets, act_packets} <= 0;
        if (run & ~drop & ~errored & |(job_error | weights_error | acts_error)) begin
            errored <= 1;
            $fdisplay(file, "error %0d %0d %0d %0d %0d %0d %0d %0d", case_, now,
                job_error != 0 ? 0 : weights_error != 0 ? 1 : 2,
                job_error != 0 ? job_error : weights_error != 0 ? weights_error : acts_error,
                weight_beats, act_beats, weight_packets, act_packets);
        end
        if (clear) begin
            errored <= 0;
            if (~errored) $fdisplay(file, "clear %0d %0d", case_, now);
        end
        if (~aresetn) begin
            if (~reset_q) $fdisplay(file, "reset %0d %0d", case_, now);
            {open, begun, errored, weight_beats, act_beats, weight_packets, act_packets} <= 0;
            recent <= RECENT;
        end
        // Held up by the ends alone.
        play_q <= play;
        if (play & ~play_q)
            for (at = 0; at < 12; at = at + 1) stalls[at] = 0;
        else if (play) begin
            if (weights_tready & ~weights_tvalid) stalls[now] = stalls[now] + 1;
            if (acts_tready & ~acts_tvalid) stalls[4 + now] = stalls[4 + now] + 1;
            if (results_tvalid & ~results_tready) begin
                stalls[8 + now] = stalls[8 + now] + 1;
                if (~active & (weight_beat | act_beat)) stalls[8 + LOADING] = stalls[8 + LOADING] + 1;
            end
            if (idle & busy & ~results_tready) stalls[8 + IDLE] = stalls[8 + IDLE] + 1;
        end else if (play_q) begin
            $fwrite(file, "stalls %0d", case_);
            for (at = 0; at < 12; at = at + 1) $fwrite(file, " %0d", stalls[at]);
            $fwrite(file, "\n");
        end
    end
endmodule

module bench #(
    parameter BUS_BYTES = 8
) (
    input wire aclk
);
    wire aresetn, irq;
    wire [7:0] awaddr, araddr;
    wire [31:0] wdata, rdata;
    wire [1:0] bresp, rresp;
    wire awvalid, awready, wvalid, wready, bvalid, arvalid, arready, rvalid;

    wire [8*BUS_BYTES-1:0] weights_tdata, acts_tdata, results_tdata;
    wire [BUS_BYTES-1:0] weights_tkeep, acts_tkeep, results_tkeep;
    wire weights_tlast, weights_tvalid, weights_tready, acts_tlast, acts_tvalid, acts_tready;
    wire results_tlast, results_tuser, results_tvalid, results_tready;

    wire play, done, expect_;
    wire [31:0] number, seed, packets, case_, cycle, first_cycle, last_cycle, offer_cycle;
    wire [7:0] gap_weights, gap_acts, gap_results;
    wire [7:0] phase, of_unit;
    assign phase = of_unit | {irq, 4'b0};
    wire [31:0] weight_beats, act_beats, result_beats, weight_stalls, act_stalls, result_stalls;
    wire [31:0] weights_to, acts_to, results_to;
    wire [63:0] weights_stop, acts_stop, results_stop;
    wire [2:0] pause;

    sparseloom unit (
        .aclk(aclk), .aresetn(aresetn), .irq(irq),
        .s_axil_awaddr(awaddr), .s_axil_awprot(3'b0), .s_axil_awvalid(awvalid),
        .s_axil_awready(awready), .s_axil_wdata(wdata), .s_axil_wstrb(4'hF),
        .s_axil_wvalid(wvalid), .s_axil_wready(wready),
        .s_axil_bresp(bresp), .s_axil_bvalid(bvalid), .s_axil_bready(1'b1),
        .s_axil_araddr(araddr), .s_axil_arprot(3'b0), .s_axil_arvalid(arvalid),
        .s_axil_arready(arready), .s_axil_rdata(rdata), .s_axil_rresp(rresp),
        .s_axil_rvalid(rvalid), .s_axil_rready(1'b1),
        .s_axis_weights_tdata(weights_tdata), .s_axis_weights_tkeep(weights_tkeep),
        .s_axis_weights_tlast(weights_tlast), .s_axis_weights_tvalid(weights_tvalid),
        .s_axis_weights_tready(weights_tready),
        .s_axis_acts_tdata(acts_tdata), .s_axis_acts_tkeep(acts_tkeep),
        .s_axis_acts_tlast(acts_tlast), .s_axis_acts_tvalid(acts_tvalid),
        .s_axis_acts_tready(acts_tready),
        .m_axis_results_tdata(results_tdata), .m_axis_results_tkeep(results_tkeep),
        .m_axis_results_tlast(results_tlast), .m_axis_results_tuser(results_tuser),
        .m_axis_results_tvalid(results_tvalid), .m_axis_results_tready(results_tready)
    );

    stream_ends #(.BUS_BYTES(BUS_BYTES)) ends (
        .aclk(aclk),
        .weights_tdata(weights_tdata), .weights_tkeep(weights_tkeep), .weights_tlast(weights_tlast),
        .weights_tvalid(weights_tvalid), .weights_tready(weights_tready),
        .acts_tdata(acts_tdata), .acts_tkeep(acts_tkeep), .acts_tlast(acts_tlast),
        .acts_tvalid(acts_tvalid), .acts_tready(acts_tready),
        .ready(results_tready), .results_tdata(results_tdata), .results_tkeep(results_tkeep),
        .results_tlast(results_tlast), .results_tuser(results_tuser),
        .results_tvalid(results_tvalid), .results_tready(results_tready),
        .play(play), .number(number), .seed(seed), .gap_weights(gap_weights), .gap_acts(gap_acts),
        .gap_results(gap_results), .packets(packets), .expect_(expect_), .pause(pause),
        .cycle(cycle), .done(done),
        .first_cycle(first_cycle), .last_cycle(last_cycle), .offer_cycle(offer_cycle),
        .weight_beats(weight_beats), .act_beats(act_beats), .result_beats(result_beats),
        .weight_stalls(weight_stalls), .act_stalls(act_stalls), .result_stalls(result_stalls)
    );

    hold weights_hold (.aclk(aclk), .play(play), .beats(weight_beats + weights_tvalid),
                       .to(weights_to), .stop(weights_stop), .pause(pause[0]));
    hold acts_hold (.aclk(aclk), .play(play), .beats(act_beats + acts_tvalid),
                    .to(acts_to), .stop(acts_stop), .pause(pause[1]));
    hold results_hold (.aclk(aclk), .play(play),
                       .beats(result_beats + (results_tvalid & results_tready)),
                       .to(results_to), .stop(results_stop), .pause(pause[2]));

    script driver (
        .aclk(aclk), .aresetn(aresetn),
        .awaddr(awaddr), .awvalid(awvalid), .awready(awready), .wdata(wdata), .wvalid(wvalid),
        .wready(wready), .bresp(bresp), .bvalid(bvalid), .araddr(araddr), .arvalid(arvalid),
        .arready(arready), .rdata(rdata), .rresp(rresp), .rvalid(rvalid),
        .play(play), .number(number), .seed(seed), .gap_weights(gap_weights), .gap_acts(gap_acts),
        .gap_results(gap_results), .packets(packets), .expect_(expect_), .case_(case_),
        .weights_to(weights_to), .acts_to(acts_to), .results_to(results_to),
        .weights_stop(weights_stop), .acts_stop(acts_stop), .results_stop(results_stop),
        .phase(phase), .cycle(cycle), .done(done),
        .first_cycle(first_cycle), .last_cycle(last_cycle), .offer_cycle(offer_cycle),
        .weight_beats(weight_beats), .act_beats(act_beats), .result_beats(result_beats),
        .weight_stalls(weight_stalls), .act_stalls(act_stalls), .result_stalls(result_stalls)
    );

    observer observer (
        .aclk(aclk), .aresetn(aresetn), .case_(case_), .play(play), .phase(of_unit),
        .busy(unit.unit.counters.count), .cause(unit.unit.counters.cause),
        .run(unit.unit.fault.run), .drop(unit.unit.fault.drop), .clear(unit.unit.fault.clear),
        .job_error(unit.unit.fault.job), .weights_error(unit.unit.fault.weights),
        .acts_error(unit.unit.fault.acts),
        .weights_tvalid(weights_tvalid), .weights_tready(weights_tready),
        .weights_tlast(weights_tlast), .acts_tvalid(acts_tvalid), .acts_tready(acts_tready),
        .acts_tlast(acts_tlast), .results_tvalid(results_tvalid),
        .results_tready(results_tready), .results_tlast(results_tlast)
    );
endmodule

// Rules of the unit's ports, see protocol.sv.
bind sparseloom
    protocol #(.BUS_BYTES($bits(m_axis_results_tkeep))) rules (.*);
