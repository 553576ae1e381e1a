// Top of a simulation of two units, one behind the other: the result port of `first` is wired to the
// activation port of `second`, beat for beat, with nothing in between.
//
// While `play` is up the other streams come from files in the working directory (first_weights0.bin,
// acts0.bin, second_weights0.bin), and two recorders write what passes on the wires (link0.bin) and
// what comes out at the end (results0.bin). Gaps are drawn at random, in 256ths, for each stream. Those
// of the wires hold TVALID and TREADY back on both sides at once; without them (gap_link 0) nothing but
// the wires is there.
module bench #(
    parameter BUS_BYTES = 8
) (
    input  wire        aclk,
    input  wire        aresetn,

    input  wire [7:0]  first_axil_awaddr,
    input  wire [2:0]  first_axil_awprot,
    input  wire        first_axil_awvalid,
    output wire        first_axil_awready,
    input  wire [31:0] first_axil_wdata,
    input  wire [3:0]  first_axil_wstrb,
    input  wire        first_axil_wvalid,
    output wire        first_axil_wready,
    output wire [1:0]  first_axil_bresp,
    output wire        first_axil_bvalid,
    input  wire        first_axil_bready,
    input  wire [7:0]  first_axil_araddr,
    input  wire [2:0]  first_axil_arprot,
    input  wire        first_axil_arvalid,
    output wire        first_axil_arready,
    output wire [31:0] first_axil_rdata,
    output wire [1:0]  first_axil_rresp,
    output wire        first_axil_rvalid,
    input  wire        first_axil_rready,

    input  wire [7:0]  second_axil_awaddr,
    input  wire [2:0]  second_axil_awprot,
    input  wire        second_axil_awvalid,
    output wire        second_axil_awready,
    input  wire [31:0] second_axil_wdata,
    input  wire [3:0]  second_axil_wstrb,
    input  wire        second_axil_wvalid,
    output wire        second_axil_wready,
    output wire [1:0]  second_axil_bresp,
    output wire        second_axil_bvalid,
    input  wire        second_axil_bready,
    input  wire [7:0]  second_axil_araddr,
    input  wire [2:0]  second_axil_arprot,
    input  wire        second_axil_arvalid,
    output wire        second_axil_arready,
    output wire [31:0] second_axil_rdata,
    output wire [1:0]  second_axil_rresp,
    output wire        second_axil_rvalid,
    input  wire        second_axil_rready,

    input  wire        play,
    input  wire [31:0] seed,            // of the gaps, not 0
    input  wire [7:0]  gap_weights,
    input  wire [7:0]  gap_acts,
    input  wire [7:0]  gap_link,
    input  wire [7:0]  gap_results,
    input  wire [31:0] packets,         // of results to wait for
    output reg         done,
    output reg  [31:0] first_cycle,     // of the first activation beat since `play` rose
    output reg  [31:0] last_cycle,      // of the last result packet's last beat
    output wire [31:0] first_weight_beats,
    output wire [31:0] second_weight_beats,
    output wire [31:0] act_beats,
    output wire [31:0] link_beats,
    output wire [31:0] result_beats,
    output reg  [31:0] link_waits       // cycles in which only the second unit held the wires up
);
    reg [31:0] cycle, packets_seen, random;
    reg playing, open, result_ready;
    wire [31:0] shifted = random ^ (random << 13);
    wire [31:0] mixed = shifted ^ (shifted >> 17);

    wire [8*BUS_BYTES-1:0] first_weights_tdata, second_weights_tdata, acts_tdata, link_tdata, results_tdata;
    wire [BUS_BYTES-1:0] first_weights_tkeep, second_weights_tkeep, acts_tkeep, link_tkeep, results_tkeep;
    wire first_weights_tlast, second_weights_tlast, acts_tlast, link_tlast, results_tlast;
    wire first_weights_tvalid, second_weights_tvalid, acts_tvalid, link_tvalid, results_tvalid;
    wire first_weights_tready, second_weights_tready, acts_tready, link_tready;
    wire link_tuser, results_tuser;

    sparseloom first (
        .aclk(aclk), .aresetn(aresetn), .irq(),
        .s_axil_awaddr(first_axil_awaddr), .s_axil_awprot(first_axil_awprot),
        .s_axil_awvalid(first_axil_awvalid), .s_axil_awready(first_axil_awready),
        .s_axil_wdata(first_axil_wdata), .s_axil_wstrb(first_axil_wstrb),
        .s_axil_wvalid(first_axil_wvalid), .s_axil_wready(first_axil_wready),
        .s_axil_bresp(first_axil_bresp), .s_axil_bvalid(first_axil_bvalid),
        .s_axil_bready(first_axil_bready),
        .s_axil_araddr(first_axil_araddr), .s_axil_arprot(first_axil_arprot),
        .s_axil_arvalid(first_axil_arvalid), .s_axil_arready(first_axil_arready),
        .s_axil_rdata(first_axil_rdata), .s_axil_rresp(first_axil_rresp),
        .s_axil_rvalid(first_axil_rvalid), .s_axil_rready(first_axil_rready),
        .s_axis_weights_tdata(first_weights_tdata), .s_axis_weights_tkeep(first_weights_tkeep),
        .s_axis_weights_tlast(first_weights_tlast), .s_axis_weights_tvalid(first_weights_tvalid),
        .s_axis_weights_tready(first_weights_tready),
        .s_axis_acts_tdata(acts_tdata), .s_axis_acts_tkeep(acts_tkeep),
        .s_axis_acts_tlast(acts_tlast), .s_axis_acts_tvalid(acts_tvalid),
        .s_axis_acts_tready(acts_tready),
        .m_axis_results_tdata(link_tdata), .m_axis_results_tkeep(link_tkeep),
        .m_axis_results_tlast(link_tlast), .m_axis_results_tuser(link_tuser),
        .m_axis_results_tvalid(link_tvalid), .m_axis_results_tready(link_tready & open)
    );

    sparseloom second (
        .aclk(aclk), .aresetn(aresetn), .irq(),
        .s_axil_awaddr(second_axil_awaddr), .s_axil_awprot(second_axil_awprot),
        .s_axil_awvalid(second_axil_awvalid), .s_axil_awready(second_axil_awready),
        .s_axil_wdata(second_axil_wdata), .s_axil_wstrb(second_axil_wstrb),
        .s_axil_wvalid(second_axil_wvalid), .s_axil_wready(second_axil_wready),
        .s_axil_bresp(second_axil_bresp), .s_axil_bvalid(second_axil_bvalid),
        .s_axil_bready(second_axil_bready),
        .s_axil_araddr(second_axil_araddr), .s_axil_arprot(second_axil_arprot),
        .s_axil_arvalid(second_axil_arvalid), .s_axil_arready(second_axil_arready),
        .s_axil_rdata(second_axil_rdata), .s_axil_rresp(second_axil_rresp),
        .s_axil_rvalid(second_axil_rvalid), .s_axil_rready(second_axil_rready),
        .s_axis_weights_tdata(second_weights_tdata), .s_axis_weights_tkeep(second_weights_tkeep),
        .s_axis_weights_tlast(second_weights_tlast), .s_axis_weights_tvalid(second_weights_tvalid),
        .s_axis_weights_tready(second_weights_tready),
        .s_axis_acts_tdata(link_tdata), .s_axis_acts_tkeep(link_tkeep),
        .s_axis_acts_tlast(link_tlast), .s_axis_acts_tvalid(link_tvalid & open),
        .s_axis_acts_tready(link_tready),
        .m_axis_results_tdata(results_tdata), .m_axis_results_tkeep(results_tkeep),
        .m_axis_results_tlast(results_tlast), .m_axis_results_tuser(results_tuser),
        .m_axis_results_tvalid(results_tvalid), .m_axis_results_tready(result_ready)
    );

    player #(.BUS_BYTES(BUS_BYTES), .FILE("first_weights")) first_weights (
        .aclk(aclk), .play(play), .pause(random[7:0] < gap_weights), .number(0),
        .beats(first_weight_beats),
        .tdata(first_weights_tdata), .tkeep(first_weights_tkeep), .tlast(first_weights_tlast),
        .tvalid(first_weights_tvalid), .tready(first_weights_tready));
    player #(.BUS_BYTES(BUS_BYTES), .FILE("second_weights")) second_weights (
        .aclk(aclk), .play(play), .pause(random[15:8] < gap_weights), .number(0),
        .beats(second_weight_beats),
        .tdata(second_weights_tdata), .tkeep(second_weights_tkeep), .tlast(second_weights_tlast),
        .tvalid(second_weights_tvalid), .tready(second_weights_tready));
    player #(.BUS_BYTES(BUS_BYTES), .FILE("acts")) acts (
        .aclk(aclk), .play(play), .pause(random[23:16] < gap_acts), .number(0),
        .beats(act_beats),
        .tdata(acts_tdata), .tkeep(acts_tkeep), .tlast(acts_tlast),
        .tvalid(acts_tvalid), .tready(acts_tready));
    recorder #(.BUS_BYTES(BUS_BYTES), .FILE("link")) link (
        .aclk(aclk), .play(play), .number(0),
        .beats(link_beats),
        .tdata(link_tdata), .tkeep(link_tkeep), .tlast(link_tlast), .tuser(link_tuser),
        .tvalid(link_tvalid), .tready(link_tready & open));
    recorder #(.BUS_BYTES(BUS_BYTES), .FILE("results")) results (
        .aclk(aclk), .play(play), .number(0),
        .beats(result_beats),
        .tdata(results_tdata), .tkeep(results_tkeep), .tlast(results_tlast), .tuser(results_tuser),
        .tvalid(results_tvalid), .tready(result_ready));

    wire act_taken = acts_tvalid & acts_tready;
    wire last_taken = results_tvalid & result_ready & results_tlast;
    initial begin
        cycle = 0; packets_seen = 0; random = 1; playing = 0; open = 1; result_ready = 0; done = 0;
        first_cycle = 0; last_cycle = 0; link_waits = 0;
    end
    always @(posedge aclk) begin
        cycle <= cycle + 1;
        random <= mixed ^ (mixed << 5);
        playing <= play;
        // An offered beat stays until it is taken.
        open <= (link_tvalid & open & ~link_tready) | (random[31:24] >= gap_link);
        if (play & ~playing) begin
            random <= seed;
            done <= 0;
            {first_cycle, last_cycle, packets_seen, link_waits} <= 0;
        end else if (play) begin
            result_ready <= random[19:12] >= gap_results;
            if (act_taken & act_beats == 0) first_cycle <= cycle;
            if (link_tvalid & open & ~link_tready) link_waits <= link_waits + 1;
            if (last_taken) begin
                last_cycle <= cycle;
                packets_seen <= packets_seen + 1;
                if (packets_seen + 1 >= packets | results_tuser) done <= 1;
            end
        end else begin
            result_ready <= 0;
        end
    end
endmodule

// Rules of the unit's ports, see protocol.sv.
bind sparseloom
    protocol #(.BUS_BYTES($bits(m_axis_results_tkeep))) rules (.*);
