// Top of every simulation: the unit, and around it what would be too slow in Python.
//
// Its streams come from outside, where AXI drivers are attached, or while `play` is up from files in
// the working directory: weights.bin and acts.bin hold one record per beat, results.hex takes one
// line per beat (stream_ends.v). Gaps are drawn at random, in 256ths, for each stream. The bench counts cycles and
// beats itself, so that the unit does not grade itself, and watches the rules of AXI4-Stream.
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
    input  wire [31:0]            seed,          // of the gaps, not 0
    input  wire [7:0]             gap_weights,
    input  wire [7:0]             gap_acts,
    input  wire [7:0]             gap_results,
    input  wire [31:0]            packets,       // of results to wait for
    output reg                    done,
    output reg  [31:0]            first_cycle,   // of the first activation beat since `play` rose
    output reg  [31:0]            last_cycle,    // of the last result packet's last beat
    output wire [31:0]            weight_beats,
    output wire [31:0]            act_beats,
    output wire [31:0]            result_beats,
    output reg  [31:0]            weight_packets, // whose first beat the unit took, since time 0
    output reg  [31:0]            act_packets,
    output wire [31:0]            violations,    // of stream rules by the unit, since time 0
    output reg  [31:0]            offer_cycle,   // from which on the player may offer beats
    output reg  [31:0]            write_cycle,   // in which the last register write took effect
    output reg  [31:0]            weight_stalls, // cycles from then on in which the bench alone held
    output reg  [31:0]            act_stalls,    // the port up: it had no beat, or took none
    output reg  [31:0]            result_stalls
);
    reg result_ready;
    reg playing;
    reg [31:0] cycle, packets_seen, random;

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

    wire results_tready = play ? result_ready : m_axis_results_tready;
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

    player #(.BUS_BYTES(BUS_BYTES), .FILE("weights.bin")) weights (
        .aclk(aclk), .play(play), .pause(random[7:0] < gap_weights), .beats(weight_beats),
        .tdata(played_weights_tdata), .tkeep(played_weights_tkeep), .tlast(played_weights_tlast),
        .tvalid(played_weights_tvalid), .tready(weights_tready));
    player #(.BUS_BYTES(BUS_BYTES), .FILE("acts.bin")) acts (
        .aclk(aclk), .play(play), .pause(random[15:8] < gap_acts), .beats(act_beats),
        .tdata(played_acts_tdata), .tkeep(played_acts_tkeep), .tlast(played_acts_tlast),
        .tvalid(played_acts_tvalid), .tready(acts_tready));
    recorder #(.BUS_BYTES(BUS_BYTES), .FILE("results.hex")) results (
        .aclk(aclk), .aresetn(aresetn), .play(play), .beats(result_beats), .violations(violations),
        .tdata(m_axis_results_tdata), .tkeep(m_axis_results_tkeep), .tlast(m_axis_results_tlast),
        .tuser(m_axis_results_tuser), .tvalid(results_tvalid), .tready(results_tready));

    wire weight_taken = weights_tvalid & weights_tready;
    wire act_taken = acts_tvalid & acts_tready;
    wire last_taken = results_tvalid & results_tready & m_axis_results_tlast;
    wire [31:0] shifted = random ^ (random << 13);
    wire [31:0] mixed = shifted ^ (shifted >> 17);

    initial begin
        playing = 0; result_ready = 0; done = 0;
        cycle = 0; packets_seen = 0; random = 1; first_cycle = 0; last_cycle = 0;
    end

    reg offering, bvalid_q;
    initial begin
        offering = 0; bvalid_q = 0; offer_cycle = 0; write_cycle = 0;
        weight_stalls = 0; act_stalls = 0; result_stalls = 0;
    end
    always @(posedge aclk) begin
        bvalid_q <= s_axil_bvalid;
        if (s_axil_bvalid & ~bvalid_q) write_cycle <= cycle - 1;   // it answers a cycle later
        offering <= play & playing;
        if (play & ~playing) begin
            offer_cycle <= cycle + 2;
            {weight_stalls, act_stalls, result_stalls} <= 0;
        end else if (play & offering & ~done) begin
            if (weights_tready & ~weights_tvalid) weight_stalls <= weight_stalls + 1;
            if (acts_tready & ~acts_tvalid) act_stalls <= act_stalls + 1;
            if (results_tvalid & ~results_tready) result_stalls <= result_stalls + 1;
        end
    end

    always @(posedge aclk) begin
        cycle <= cycle + 1;
        random <= mixed ^ (mixed << 5);
        playing <= play;
        if (play & ~playing) begin
            random <= seed;
            done <= 0;
            {first_cycle, last_cycle, packets_seen} <= 0;
        end else if (play) begin
            result_ready <= random[23:16] >= gap_results;
            if (act_taken & act_beats == 0) first_cycle <= cycle;
            if (last_taken) begin
                last_cycle <= cycle;
                packets_seen <= packets_seen + 1;
                if (packets_seen + 1 >= packets | m_axis_results_tuser) done <= 1;
            end
        end else begin
            result_ready <= 0;
        end
    end

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
