// A stand-in for the unit, to test the bench: results are the activations, one register later, a packet
// for each job pushed. Reads answer 0x100, which is STATUS with space in the queue. What is written to JOB_CONFIG breaks
// it, bit by bit: an offered beat is withdrawn; an offered beat changes; a beat has gaps in TKEEP;
// TUSER without TLAST.
module sparseloom #(parameter BYTES = 8) (
    input aclk, input aresetn, output irq,
    input [7:0] s_axil_awaddr, input [2:0] s_axil_awprot, input s_axil_awvalid,
    output s_axil_awready, input [31:0] s_axil_wdata, input [3:0] s_axil_wstrb,
    input s_axil_wvalid, output s_axil_wready, output [1:0] s_axil_bresp,
    output reg s_axil_bvalid, input s_axil_bready, input [7:0] s_axil_araddr,
    input [2:0] s_axil_arprot, input s_axil_arvalid, output s_axil_arready,
    output reg [31:0] s_axil_rdata, output [1:0] s_axil_rresp, output reg s_axil_rvalid,
    input s_axil_rready,
    input [8*BYTES-1:0] s_axis_weights_tdata, input [BYTES-1:0] s_axis_weights_tkeep,
    input s_axis_weights_tlast, input s_axis_weights_tvalid, output s_axis_weights_tready,
    input [8*BYTES-1:0] s_axis_acts_tdata, input [BYTES-1:0] s_axis_acts_tkeep,
    input s_axis_acts_tlast, input s_axis_acts_tvalid, output s_axis_acts_tready,
    output reg [8*BYTES-1:0] m_axis_results_tdata, output reg [BYTES-1:0] m_axis_results_tkeep,
    output reg m_axis_results_tlast, output m_axis_results_tuser,
    output reg m_axis_results_tvalid, input m_axis_results_tready
);
    reg [31:0] broken;
    reg [7:0] jobs;                             // pushed, and their last activation not taken
    reg weights_started;
    reg open;                                   // there was one in the cycle before, too
    assign irq = broken[31];
    assign s_axil_bresp = 0;
    assign s_axil_rresp = 0;
    assign s_axil_awready = s_axil_awvalid & s_axil_wvalid & ~s_axil_bvalid;
    assign s_axil_wready = s_axil_awready;
    assign s_axil_arready = ~s_axil_rvalid;
    assign s_axis_weights_tready = aresetn & (jobs != 0 & open | weights_started);
    assign s_axis_acts_tready = aresetn & jobs != 0 & open & (~m_axis_results_tvalid | m_axis_results_tready);
    assign m_axis_results_tuser = broken[3];
    initial begin
        broken = 0; jobs = 0; open = 0; weights_started = 0;
        s_axil_bvalid = 0; s_axil_rvalid = 0; m_axis_results_tvalid = 0;
    end
    always @(posedge aclk) begin
        if (s_axil_awready) begin if (s_axil_awaddr == 8'h28) broken <= s_axil_wdata; s_axil_bvalid <= 1; end
        else if (s_axil_bready) s_axil_bvalid <= 0;
        if (s_axil_arvalid & s_axil_arready) begin
            s_axil_rdata <= 32'h100; s_axil_rvalid <= 1;
        end else if (s_axil_rready) s_axil_rvalid <= 0;
        open <= jobs != 0;
        if (s_axis_weights_tvalid & s_axis_weights_tready) weights_started <= ~s_axis_weights_tlast;
        jobs <= jobs + (s_axil_awready & s_axil_awaddr == 8'h2C)
            - (s_axis_acts_tvalid & s_axis_acts_tready & s_axis_acts_tlast);
        if (~m_axis_results_tvalid | m_axis_results_tready) begin
            m_axis_results_tvalid <= s_axis_acts_tvalid & s_axis_acts_tready;
            m_axis_results_tdata <= s_axis_acts_tdata;
            m_axis_results_tkeep <= s_axis_acts_tkeep & ~{broken[2], 1'b0};
            m_axis_results_tlast <= s_axis_acts_tlast;
        end else if (broken[0]) m_axis_results_tvalid <= 0;
        else if (broken[1]) m_axis_results_tdata <= ~m_axis_results_tdata;
        if (~aresetn) begin m_axis_results_tvalid <= 0; jobs <= 0; end
    end
endmodule
