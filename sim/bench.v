// Top of simulations with Python inside: the unit, and around it what would be too slow there.
//
// Its streams come from outside, where AXI drivers are attached, or while `play` is up from files in
// the working directory, and go to one (stream_ends.v): weights0.bin, acts0.bin and results0.bin, with
// the number of the queue. The bench counts cycles and beats itself, so that the unit does not grade
// itself.
module bench #(
    parameter BUS_BYTES = 8
) (
    input  wire                   aclk,
    input  wire                   aresetn,
    output wire                   irq,

    input  wire [7:0]             s_axil_awaddr,
    input  wire [2:0]             s_axil_awprot,
    input  wire                   s_axil_awvalid,
    output wire                   s_axil_awready,
    input  wire [31:0]            s_axil_wdata,
    input  wire [3:0]             s_axil_wstrb,
    input  wire                   s_axil_wvalid,
    output wire                   s_axil_wready,
    output wire [1:0]             s_axil_bresp,
    output wire                   s_axil_bvalid,
    input  wire                   s_axil_bready,
    input  wire [7:0]             s_axil_araddr,
    input  wire [2:0]             s_axil_arprot,
    input  wire                   s_axil_arvalid,
    output wire                   s_axil_arready,
    output wire [31:0]            s_axil_rdata,
    output wire [1:0]             s_axil_rresp,
    output wire                   s_axil_rvalid,
    input  wire                   s_axil_rready,

    input  wire [8*BUS_BYTES-1:0] s_axis_weights_tdata,
    input  wire [BUS_BYTES-1:0]   s_axis_weights_tkeep,
    input  wire                   s_axis_weights_tlast,
    input  wire                   s_axis_weights_tvalid,
    output wire                   s_axis_weights_tready,
    input  wire [8*BUS_BYTES-1:0] s_axis_acts_tdata,
    input  wire [BUS_BYTES-1:0]   s_axis_acts_tkeep,
    input  wire                   s_axis_acts_tlast,
    input  wire                   s_axis_acts_tvalid,
    output wire                   s_axis_acts_tready,
    output wire [8*BUS_BYTES-1:0] m_axis_results_tdata,
    output wire [BUS_BYTES-1:0]   m_axis_results_tkeep,
    output wire                   m_axis_results_tlast,
    output wire                   m_axis_results_tuser,
    output wire                   m_axis_results_tvalid,
    input  wire                   m_axis_results_tready,

    input  wire                   play,
    input  wire [31:0]            number,        // of the files
    input  wire [31:0]            seed,          // of the gaps, not 0
    input  wire [7:0]             gap_weights,
    input  wire [7:0]             gap_acts,
    input  wire [7:0]             gap_results,
    input  wire [31:0]            packets,       // of results to wait for
    output wire                   done,
    output wire [31:0]            first_cycle,   // of the first activation beat since `play` rose
    output wire [31:0]            last_cycle,    // of the last result packet's last beat
    output wire [31:0]            weight_beats,
    output wire [31:0]            act_beats,
    output wire [31:0]            result_beats,
    output reg  [31:0]            weight_packets, // whose first beat the unit took, since time 0
    output reg  [31:0]            act_packets,
    output wire [31:0]            offer_cycle,   // from which on the player may offer beats
    output reg  [31:0]            write_cycle,   // in which the last register write took effect
    output wire [31:0]            weight_stalls, // cycles from then on in which the bench alone held
    output wire [31:0]            act_stalls,    // the port up: it had no beat, or took none
    output wire [31:0]            result_stalls
);
    wire played_ready;
    wire [31:0] cycle;
    wire [8*BUS_BYTES-1:0] played_weights_tdata, played_acts_tdata;
    wire [BUS_BYTES-1:0] played_weights_tkeep, played_acts_tkeep;
    wire played_weights_tlast, played_weights_tvalid, played_acts_tlast, played_acts_tvalid;

    wire [8*BUS_BYTES-1:0] weights_tdata = play ? played_weights_tdata : s_axis_weights_tdata;
    wire [BUS_BYTES-1:0] weights_tkeep = play ? played_weights_tkeep : s_axis_weights_tkeep;
    wire weights_tlast = play ? played_weights_tlast : s_axis_weights_tlast;
    wire weights_tvalid = play ? played_weights_tvalid : s_axis_weights_tvalid;
    wire weights_tready;
    assign s_axis_weights_tready = weights_tready & ~play;

    wire [8*BUS_BYTES-1:0] acts_tdata = play ? played_acts_tdata : s_axis_acts_tdata;
    wire [BUS_BYTES-1:0] acts_tkeep = play ? played_acts_tkeep : s_axis_acts_tkeep;
    wire acts_tlast = play ? played_acts_tlast : s_axis_acts_tlast;
    wire acts_tvalid = play ? played_acts_tvalid : s_axis_acts_tvalid;
    wire acts_tready;
    assign s_axis_acts_tready = acts_tready & ~play;

    wire results_tready = play ? played_ready : m_axis_results_tready;
    wire results_tvalid;
    assign m_axis_results_tvalid = results_tvalid & ~play;

    sparseloom unit (
        .aclk(aclk), .aresetn(aresetn), .irq(irq),
        .s_axil_awaddr(s_axil_awaddr), .s_axil_awprot(s_axil_awprot),
        .s_axil_awvalid(s_axil_awvalid), .s_axil_awready(s_axil_awready),
        .s_axil_wdata(s_axil_wdata), .s_axil_wstrb(s_axil_wstrb),
        .s_axil_wvalid(s_axil_wvalid), .s_axil_wready(s_axil_wready),
        .s_axil_bresp(s_axil_bresp), .s_axil_bvalid(s_axil_bvalid), .s_axil_bready(s_axil_bready),
        .s_axil_araddr(s_axil_araddr), .s_axil_arprot(s_axil_arprot),
        .s_axil_arvalid(s_axil_arvalid), .s_axil_arready(s_axil_arready),
        .s_axil_rdata(s_axil_rdata), .s_axil_rresp(s_axil_rresp),
        .s_axil_rvalid(s_axil_rvalid), .s_axil_rready(s_axil_rready),
        .s_axis_weights_tdata(weights_tdata), .s_axis_weights_tkeep(weights_tkeep),
        .s_axis_weights_tlast(weights_tlast), .s_axis_weights_tvalid(weights_tvalid),
        .s_axis_weights_tready(weights_tready),
        .s_axis_acts_tdata(acts_tdata), .s_axis_acts_tkeep(acts_tkeep),
        .s_axis_acts_tlast(acts_tlast), .s_axis_acts_tvalid(acts_tvalid),
        .s_axis_acts_tready(acts_tready),
        .m_axis_results_tdata(m_axis_results_tdata), .m_axis_results_tkeep(m_axis_results_tkeep),
        .m_axis_results_tlast(m_axis_results_tlast), .m_axis_results_tuser(m_axis_results_tuser),
        .m_axis_results_tvalid(results_tvalid), .m_axis_results_tready(results_tready)
    );

    stream_ends #(.BUS_BYTES(BUS_BYTES)) ends (
        .aclk(aclk),
        .weights_tdata(played_weights_tdata), .weights_tkeep(played_weights_tkeep),
        .weights_tlast(played_weights_tlast), .weights_tvalid(played_weights_tvalid),
        .weights_tready(weights_tready),
        .acts_tdata(played_acts_tdata), .acts_tkeep(played_acts_tkeep),
        .acts_tlast(played_acts_tlast), .acts_tvalid(played_acts_tvalid),
        .acts_tready(acts_tready),
        .ready(played_ready),
        .results_tdata(m_axis_results_tdata), .results_tkeep(m_axis_results_tkeep),
        .results_tlast(m_axis_results_tlast), .results_tuser(m_axis_results_tuser),
        .results_tvalid(results_tvalid), .results_tready(results_tready),
        .play(play), .number(number), .seed(seed), .gap_weights(gap_weights), .gap_acts(gap_acts),
        .gap_results(gap_results), .packets(packets), .expect_(1'b0), .pause(3'b0), .cycle(cycle),
        .done(done), .first_cycle(first_cycle), .last_cycle(last_cycle), .weight_beats(weight_beats),
        .act_beats(act_beats), .result_beats(result_beats),
        .offer_cycle(offer_cycle), .weight_stalls(weight_stalls), .act_stalls(act_stalls),
        .result_stalls(result_stalls)
    );

    reg bvalid_q;
    initial begin bvalid_q = 0; write_cycle = 0; end
    always @(posedge aclk) begin
        bvalid_q <= s_axil_bvalid;
        if (s_axil_bvalid & ~bvalid_q) write_cycle <= cycle - 1;   // it answers a cycle later
    end

    wire weight_taken = weights_tvalid & weights_tready;
    wire act_taken = acts_tvalid & acts_tready;
    reg weight_started, act_started;
    initial begin weight_packets = 0; act_packets = 0; weight_started = 0; act_started = 0; end
    always @(posedge aclk) begin
        if (weight_taken) begin
            weight_started <= ~weights_tlast;
            if (~weight_started) weight_packets <= weight_packets + 1;
        end
        if (act_taken) begin
            act_started <= ~acts_tlast;
            if (~act_started) act_packets <= act_packets + 1;
        end
        if (~aresetn) {weight_started, act_started} <= 0;
    end
endmodule

// Rules of the unit's ports, see protocol.sv.
bind sparseloom
    protocol #(.BUS_BYTES($bits(m_axis_results_tkeep))) rules (.*);
