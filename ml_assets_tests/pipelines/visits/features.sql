SELECT row_id, lncoins, idp, lpi, fmde, physlm, disea, health, disea * physlm AS burden FROM batch
